/**
 * How a target is spoken to over TLS: whom we trust, what we show, and words for why one side did not take the other.
 * Reads no files and opens no connections.
 */

import { TargetDown, TargetUntrusted } from './target.ts';

export interface TlsMaterial {
  /** PEM; the authorities of the system without it. */
  readonly ca?: string | undefined;
  /** PEM, the chain leaf first, and its key: only where the target asks for them. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/**
 * What the files hold now: the same object for as long as none of them changed, so that a target sees when to connect
 * anew. Throws when they can't be used, and then nothing may be sent.
 */
export type TlsFiles = () => TlsMaterial;

/** `none` is plaintext: only to this machine. */
export type TargetTls = TlsFiles | 'none';

const TIME = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);

/** X509_V_ERR_*, as Node names what OpenSSL says of a chain. */
const CHAIN = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'CERT_SIGNATURE_FAILURE',
  'CERT_CHAIN_TOO_LONG',
  'CERT_REVOKED',
  'CERT_REJECTED',
  'CERT_UNTRUSTED',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
]);

const OURS_WANTED = 'expected the target to take our certificate, found that it asks for a valid one';

/** An error of a target in words; those that say that one side's certificate did not count for the other, by their kind. */
export function targetError(error: unknown): TargetDown {
  if (error instanceof TargetDown) return error;
  const untrusted = trustReason(error);
  if (untrusted !== undefined) return new TargetUntrusted(untrusted, { cause: error });
  const { code, message } = error as NodeJS.ErrnoException;
  // Node says of a name with several addresses that none answered by a code alone.
  const words = [...(typeof code === 'string' ? [code] : []), ...(message === '' ? [] : [message])];
  return new TargetDown(words.join(': '), { cause: error });
}

function trustReason(error: unknown): string | undefined {
  // A client may have put an error of its own around the one of the socket.
  for (let inner = error; inner instanceof Error; inner = inner.cause) {
    const { code = '', message } = inner as NodeJS.ErrnoException;
    if (TIME.has(code))
      return `expected a certificate of the target, and of its authority, that is valid now (${code})`;
    if (CHAIN.has(code)) return `expected a certificate of the target from an authority that we trust (${code})`;
    if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `expected a certificate for the target's name (${message})`;
    if (message.includes('requires a valid client certificate')) return OURS_WANTED; // PostgreSQL, after the handshake
    const alert = /alert (bad certificate|unknown ca|certificate \w+|\w+ certificate)/i.exec(message)?.[1];
    if (alert !== undefined) return `expected the target to take our certificate, found its alert: ${alert}`;
  }
  return undefined;
}
