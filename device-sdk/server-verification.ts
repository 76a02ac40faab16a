/**
 * TLS connection to a server of the fleet, and its verification: a chain from the server's certificate to a trusted root,
 * for the requested host, without a revoked CA. OpenSSL verifies the chain by the system's clock. OpenSSL accepts no other
 * time; when the clock is known to be wrong, this module verifies the chain by the device's time or without dates. It
 * applies revocation lists in either case, because OpenSSL refuses every server when a list is missing or expired.
 */

import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import {
  type ConnectionOptions,
  checkServerIdentity,
  connect,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { addressOptions, parseDecimal, urlHost } from '@rollcall/protocol';
import { parseCertificates } from './certificate-chain.ts';
import { findPath } from './certification-path.ts';
import { DeviceError } from './device-error.ts';
import { type KeyProvider, pemKeys } from './key-provider.ts';
import { parseRevocationLists } from './revocation-list.ts';

/**
 * The time for the validity check of a server's certificates: `system`, the system's clock; a number, milliseconds since
 * 1970; `unchecked`, no check, only to request the time from the server.
 */
export type ValidityTime = 'system' | 'unchecked' | number;

export interface ServerTrust {
  /** PEM of the roots trusted, one or more. */
  readonly rootsPem: string;
  /** PEM of their revocation lists, each checked when it was accepted. */
  readonly rootCrlPem?: string | undefined;
  readonly dates: ValidityTime;
}

export interface ClientCredential {
  /** PEM, leaf first. */
  readonly certificatePem: string;
  /** PEM, or the name that `keys` has for it. */
  readonly keyPem: string;
  readonly keys?: KeyProvider | undefined;
}

export interface TlsConnectOptions {
  /** `https://host:port` or `mqtts://host:port`. */
  readonly url: string;
  readonly defaultPort: number;
  /** `unverified`: no verification. Nothing secret may be sent. */
  readonly trust: ServerTrust | 'unverified';
  readonly credential?: ClientCredential | undefined;
  readonly protocols?: readonly string[];
}

/** OpenSSL's codes for a certificate outside of its validity. */
const DATE_ERRORS: ReadonlySet<string> = new Set(['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED']);
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
/** Number of certificates of a server's chain that are read. */
const SENT_MAX = 8;

interface HeldContext {
  readonly of: string;
  readonly context: SecureContext;
}

/** The last TLS context of each key provider. OpenSSL loads the engine of a PKCS#11 token once per process, and refuses a second time. */
const heldContexts = new WeakMap<KeyProvider, HeldContext>();

function heldContext(
  { ca, minVersion }: ConnectionOptions,
  { certificatePem, keyPem }: ClientCredential,
  keys: KeyProvider,
): SecureContext {
  const of = JSON.stringify([ca, certificatePem, keyPem]);
  const known = heldContexts.get(keys);
  if (known?.of === of) return known.context;
  const context = createSecureContext({ ca, minVersion, cert: certificatePem, ...keys.tls(keyPem) });
  heldContexts.set(keys, { of, context });
  return context;
}

/** Nothing may be written before `secureConnect`, and only if {@link serverTrustError} finds nothing then. */
export function openTls({ url, defaultPort, trust, credential, protocols }: TlsConnectOptions): TLSSocket {
  const { port } = new URL(url);
  const host = urlHost(url);
  const options: ConnectionOptions = {
    host,
    port: parseDecimal(port, 0, 65_535) ?? defaultPort,
    ...addressOptions(host),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: trust !== 'unverified' && trust.dates === 'system',
  };
  if (isIP(host) === 0) options.servername = host;
  if (trust !== 'unverified') options.ca = trust.rootsPem;
  if (credential?.keys !== undefined) options.secureContext = heldContext(options, credential, credential.keys);
  else if (credential !== undefined) {
    options.cert = credential.certificatePem;
    Object.assign(options, pemKeys.tls(credential.keyPem));
  }
  if (protocols !== undefined) options.ALPNProtocols = [...protocols];
  const socket = connect(options);
  socket.setNoDelay(true);
  return socket;
}

/** Call at `secureConnect`. The reason why the server is not trusted; undefined for a trusted server. */
export function serverTrustError(
  socket: TLSSocket,
  { url, trust }: Pick<TlsConnectOptions, 'url' | 'trust'>,
): DeviceError | undefined {
  if (trust === 'unverified') return undefined;
  const lists = parseRevocationLists(trust.rootCrlPem ?? '') ?? [];
  if (trust.dates === 'system') {
    if (!socket.authorized) return untrusted('not authorized');
    if (lists.length === 0) return undefined;
  }
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) return untrusted('expected a certificate');
  const at = trust.dates === 'unchecked' ? undefined : trust.dates === 'system' ? Date.now() : trust.dates;
  const extensions = trust.dates === 'system' ? 'ignore' : 'check';
  const path = findPath(leaf, sentBy(leaf), parseCertificates(trust.rootsPem), { at, lists, extensions });
  if (typeof path === 'string') return untrusted(path);
  return trust.dates === 'system' ? undefined : misnamed(socket, leaf, url);
}

/** Checks host name and key usage, which OpenSSL has not checked. */
function misnamed(socket: TLSSocket, leaf: X509Certificate, url: string): DeviceError | undefined {
  const identityError = checkServerIdentity(urlHost(url), socket.getPeerCertificate() as PeerCertificate);
  if (identityError !== undefined) return untrusted('ERR_TLS_CERT_ALTNAME_INVALID');
  // Devices of the fleet have certificates under the same root, and are no servers.
  if (leaf.ca || leaf.keyUsage?.includes(SERVER_AUTH) !== true) return untrusted('expected a server certificate');
  return undefined;
}

/** Whether a handshake failed because of the validity of a certificate. A wrong clock is another cause. */
export function isDateError(error: NodeJS.ErrnoException): boolean {
  return DATE_ERRORS.has(error.code ?? '');
}

/** What a server sent along with its certificate. */
function sentBy(leaf: X509Certificate): readonly X509Certificate[] {
  const sent: X509Certificate[] = [];
  for (let at = leaf.issuerCertificate; at !== undefined && sent.length < SENT_MAX; at = at.issuerCertificate) {
    if (sent.some(({ fingerprint256 }) => fingerprint256 === at?.fingerprint256)) break;
    sent.push(at);
  }
  return sent;
}

function untrusted(reason: string): DeviceError {
  return new DeviceError('server_untrusted', { reason });
}
