/**
 * Signs bytes. Every signature of a CA goes through this interface, so that the key may be in a file, in a PKCS#11 token
 * or in a cloud KMS. Does not decide what is signed.
 */

import { createPublicKey, type KeyObject, sign } from 'node:crypto';

export interface Signer {
  /** DER of the SubjectPublicKeyInfo that verifies the signatures: EC on P-256. */
  readonly publicKeySpki: Buffer;
  /** ECDSA with SHA-256 over the bytes; the DER form of the signature (RFC 5758, section 3.2). */
  sign(tbs: Uint8Array): Promise<Buffer>;
  /** The private key, where it can be exported. */
  exportKey?(): KeyObject;
}

/** The length from which hashing takes longer than a switch to another thread. CRLs are that long. */
const LONG = 65_536;

/** Signs with a private key in this process. */
export function keySigner(privateKey: KeyObject): Signer {
  return {
    publicKeySpki: createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
    // On this thread: a P-256 signature takes 30 us, less than handing it to another one.
    sign: async (tbs) => (tbs.byteLength < LONG ? sign('sha256', tbs, privateKey) : signOnThreadPool(tbs, privateKey)),
    exportKey: () => privateKey,
  };
}

function signOnThreadPool(tbs: Uint8Array, privateKey: KeyObject): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    sign('sha256', tbs, privateKey, (error, signature) => (error ? reject(error) : resolve(signature)));
  });
}
