/**
 * Which public keys may be certified: EC on P-256 or P-384, RSA of 2048 to 4096 bits with exponent 65537, and none that
 * is known to be weak. Takes the SubjectPublicKeyInfo of a request as bytes; OpenSSL reads it, which also checks that a
 * point lies on its curve, and only OpenSSL's own writing of the key goes further.
 */

import { createPublicKey, type KeyObject } from 'node:crypto';
import { publicKeySha256 } from './profile.ts';
import { rsaModulusWeakness } from './rsa-weakness.ts';

export interface CheckedKey {
  readonly key: KeyObject;
  readonly kind: 'ec' | 'rsa';
  /** DER as OpenSSL writes it: the one spelling of this key. */
  readonly spki: Buffer;
  readonly sha256: string;
}

/** What the AlgorithmIdentifier must be, to the byte: named curves only, and RSA with NULL parameters (RFC 3279, RFC 5480). */
const ALGORITHMS: Readonly<Record<string, 'ec' | 'rsa'>> = {
  '301306072a8648ce3d020106082a8648ce3d030107': 'ec', // P-256
  '301006072a8648ce3d020106052b81040022': 'ec', // P-384
  '300d06092a864886f70d0101010500': 'rsa',
};

const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 4096;
const RSA_EXPONENT = 65537n;

/** The key, or why it is refused; `algorithm` and `spki` are DER as they stand in the request. */
export function checkKey(algorithm: Buffer, spki: Buffer): CheckedKey | string {
  const kind = ALGORITHMS[algorithm.toString('hex')];
  if (kind === undefined) return 'expected EC on P-256 or P-384, or RSA; found another algorithm or curve';
  const key = importKey(spki);
  if (key === undefined) return 'expected a valid public key';
  const written = key.export({ type: 'spki', format: 'der' });
  // A compressed point is the same key with another hash: it would pass for a key that was not used before.
  if (!written.equals(spki)) return 'expected the key in its usual encoding, an EC point uncompressed';
  if (kind === 'rsa') {
    const weakness = rsaWeakness(key);
    if (weakness !== undefined) return weakness;
  }
  return { key, kind, spki: written, sha256: publicKeySha256(written) };
}

function importKey(spki: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

function rsaWeakness(key: KeyObject): string | undefined {
  const { modulusLength = 0, publicExponent } = key.asymmetricKeyDetails ?? {};
  // The length first: what follows costs time with its square.
  if (modulusLength < RSA_BITS_MIN || modulusLength > RSA_BITS_MAX || modulusLength % 8 !== 0) {
    return `expected an RSA key of ${RSA_BITS_MIN} to ${RSA_BITS_MAX} bits, a multiple of 8; found ${modulusLength}`;
  }
  if (publicExponent !== RSA_EXPONENT) return `expected an RSA key with exponent ${RSA_EXPONENT}`;
  const { n = '' } = key.export({ format: 'jwk' });
  return rsaModulusWeakness(BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`));
}
