/** What PostgreSQL stores of a password (SCRAM-SHA-256, RFC 5803), so that the password itself is in no statement and no log of the server. */

import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';

const ITERATIONS = 4_096;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
const VERIFIER = /^SCRAM-SHA-256\$4096:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$/;

/** `password`: printable ASCII, which needs no preparation (RFC 4013). */
export function createPasswordVerifier(password: string): string {
  if (!/^[!-~]+$/.test(password)) throw new RangeError('expected a password of printable ASCII without blanks');
  const salt = randomBytes(SALT_BYTES);
  const salted = pbkdf2Sync(password, salt, ITERATIONS, HASH_BYTES, 'sha256');
  const keyed = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(keyed('Client Key')).digest();
  const [first, second, third] = [salt, stored, keyed('Server Key')].map((bytes) => bytes.toString('base64'));
  return `SCRAM-SHA-256$${ITERATIONS}:${first}$${second}:${third}`;
}

/** Nothing else comes into a statement. */
export function isPasswordVerifier(text: string): boolean {
  return VERIFIER.test(text);
}
