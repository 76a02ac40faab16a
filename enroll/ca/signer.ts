/**
 * The cryptographic act alone: bytes in, signature out. Everything that signs as a CA does it through this interface,
 * so that a key in a PKCS#11 token or a cloud KMS can stand behind it one day. Decides nothing about what is signed.
 */

import { createPublicKey, type KeyObject, sign } from 'node:crypto';

export interface Signer {
  /** DER of the SubjectPublicKeyInfo that verifies the signatures: EC on P-256. */
  readonly publicKeySpki: Buffer;
  /** ECDSA with SHA-256 over the bytes; the DER form of the signature (RFC 5758, section 3.2). */
  sign(tbs: Uint8Array): Promise<Buffer>;
  /** The private key itself, where it can be taken out. */
  exportKey?(): KeyObject;
}

/** From here on hashing takes longer than the way to another thread and back; revocation lists are so long. */
const LONG = 65_536;

/** Signs with a private key held in this process. */
export function keySigner(privateKey: KeyObject): Signer {
  return {
    publicKeySpki: createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
    // On this thread: a P-256 signature takes 30 us, less than handing it to another one.
    sign: async (tbs) => (tbs.byteLength < LONG ? sign('sha256', tbs, privateKey) : signElsewhere(tbs, privateKey)),
    exportKey: () => privateKey,
  };
}

function signElsewhere(tbs: Uint8Array, privateKey: KeyObject): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    sign('sha256', tbs, privateKey, (error, signature) => (error ? reject(error) : resolve(signature)));
  });
}
