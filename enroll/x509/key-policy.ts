/**
 * The public keys that may be certified: EC on P-256 or P-384, RSA of 2048 to 4096 bits with exponent 65537, Ed25519 where
 * the profile of a group allows it, and no key that is known to be weak. OpenSSL reads the SubjectPublicKeyInfo of a
 * request, which includes the check that a point is on its curve; only the encoding that OpenSSL writes is used further.
 */

import { createPublicKey, type KeyObject } from 'node:crypto';
import type { GroupProfile, KeyAlgorithm } from '../../registry/index.ts';
import { publicKeySha256 } from './profile.ts';
import { rsaModulusWeakness } from './rsa-weakness.ts';

export interface CheckedKey {
  readonly key: KeyObject;
  readonly kind: 'ec' | 'rsa' | 'ed25519';
  readonly algorithm: KeyAlgorithm;
  /** DER as OpenSSL writes it, the one encoding of this key. */
  readonly spki: Buffer;
  readonly sha256: string;
}

interface KeyForm {
  readonly kind: CheckedKey['kind'];
  readonly algorithm: KeyAlgorithm;
  /** Bytes of an uncompressed point (SEC 1, section 2.3.3). */
  readonly pointBytes?: number;
}

/** What the AlgorithmIdentifier must be, to the byte: named curves only, and RSA with NULL parameters (RFC 3279, RFC 5480). */
const KEY_FORMS: Readonly<Record<string, KeyForm>> = {
  '301306072a8648ce3d020106082a8648ce3d030107': { kind: 'ec', algorithm: 'P-256', pointBytes: 65 },
  '301006072a8648ce3d020106052b81040022': { kind: 'ec', algorithm: 'P-384', pointBytes: 97 },
  '300d06092a864886f70d0101010500': { kind: 'rsa', algorithm: 'RSA' },
  '300506032b6570': { kind: 'ed25519', algorithm: 'Ed25519' }, // without parameters (RFC 8410)
};
const UNCOMPRESSED = 0x04;

const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 4096;
const RSA_EXPONENT = 65537n;

/** A SubjectPublicKeyInfo as received, DER, and its parts. */
export interface SubjectPublicKeyInfo {
  readonly spki: Buffer;
  /** The AlgorithmIdentifier, DER. */
  readonly algorithm: Buffer;
  /** Contents of the BIT STRING, its count of unused bits first. */
  readonly bits: Buffer;
}

/** The key algorithms of a group without a profile. Few devices support Ed25519 in TLS, so it has to be enabled. */
const DEFAULT_KEYS: readonly KeyAlgorithm[] = ['P-256', 'P-384', 'RSA'];

/** Why the key is not allowed in this group; undefined when it is. */
export function keyNotAllowed(algorithm: KeyAlgorithm, profile: GroupProfile | undefined): string | undefined {
  const allowed = profile?.keys ?? DEFAULT_KEYS;
  return allowed.includes(algorithm) ? undefined : `expected a key of ${allowed.join(', ')}; found ${algorithm}`;
}

/** The key, or why it is refused. */
export function checkKey({ spki, algorithm, bits }: SubjectPublicKeyInfo): CheckedKey | string {
  const form = KEY_FORMS[algorithm.toString('hex')];
  if (form === undefined) return 'expected EC on P-256 or P-384, or RSA; found another algorithm or curve';
  const { kind, algorithm: name, pointBytes } = form;
  // A compressed point is the same key with another hash, and would count as a key that was not used before. OpenSSL
  // also imports the point at infinity, which is not a key.
  if (pointBytes !== undefined && (bits.length !== 1 + pointBytes || bits[1] !== UNCOMPRESSED)) {
    return 'expected an EC point in its uncompressed form';
  }
  const imported = importKey(spki);
  if (imported === undefined) return 'expected a valid public key';
  const { key, written } = imported;
  if (!written.equals(spki)) return 'expected the public key in its one usual encoding';
  const weakness = kind === 'rsa' ? rsaWeakness(key) : undefined;
  return weakness ?? { key, kind, algorithm: name, spki: written, sha256: publicKeySha256(written) };
}

/** The key as OpenSSL reads it, and as it writes it again. */
function importKey(spki: Buffer): { readonly key: KeyObject; readonly written: Buffer } | undefined {
  try {
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    return { key, written: key.export({ type: 'spki', format: 'der' }) };
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
