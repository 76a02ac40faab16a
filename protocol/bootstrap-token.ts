/**
 * The text form of a bootstrap token: everything a device needs to enroll, in one string that survives a command line.
 *
 *     rc1.<id>.<secret>.<root SHA-256>.<enroll URL>
 *
 * The last three parts are base64url without padding. The device verifies the server by the root's fingerprint before it
 * sends the secret to the enroll URL.
 */

import { parseEnrollUrl } from './server-urls.ts';

export const TOKEN_SECRET_BYTES = 20; // 160 bits: out of reach of guessing even without a rate limit

export interface BootstrapToken {
  /** Public part: 16 lower-case hexadecimal digits. Safe to log. */
  readonly id: string;
  /** 27 characters of base64url (160 bits). Never logged; the server keeps only its hash. */
  readonly secret: string;
  /** SHA-256 of the root certificate's DER, 64 lower-case hexadecimal digits. */
  readonly rootSha256: string;
  /** Base URL of the enroll server, `https://host:port`, in the canonical form of `server-urls.ts`. */
  readonly enrollUrl: string;
}

/** Size limit of the token text; the URL is the only part without a fixed length. */
export const TOKEN_TEXT_MAX = 512;

const TOKEN = /^rc1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{27})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]+)$/;

export function formatBootstrapToken(token: BootstrapToken): string {
  const root = Buffer.from(token.rootSha256, 'hex').toString('base64url');
  const url = Buffer.from(token.enrollUrl, 'utf8').toString('base64url');
  return `rc1.${token.id}.${token.secret}.${root}.${url}`;
}

/**
 * Undefined for anything but a token. Id, secret and fingerprint have one spelling each. The URL is read in any
 * spelling, because earlier versions created other spellings, and is returned in canonical form.
 */
export function parseBootstrapToken(text: string): BootstrapToken | undefined {
  if (text.length > TOKEN_TEXT_MAX) return undefined;
  const parts = TOKEN.exec(text);
  if (parts === null) return undefined;
  const [, id, secret, root, url] = parts as unknown as [string, string, string, string, string];
  const isExact = [secret, root, url].every((part) => Buffer.from(part, 'base64url').toString('base64url') === part);
  const enrollUrl = parseEnrollUrl(Buffer.from(url, 'base64url').toString('utf8'));
  if (!isExact || enrollUrl === undefined) return undefined;
  return { id, secret, rootSha256: Buffer.from(root, 'base64url').toString('hex'), enrollUrl };
}
