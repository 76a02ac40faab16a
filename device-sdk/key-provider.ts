/**
 * Where private keys live. By default in the device's own directory, as PEM. A provider keeps them elsewhere, in a TPM, a
 * secure element or a PKCS#11 token, and they never come into this process: requests are signed by a callback, and TLS is
 * handed an OpenSSL engine and the key's name, which is the only way that Node has for keys it can't read.
 */

import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';

/** For `node:tls`: a key as PEM, or an engine (id, or path of its library) and what it calls the key. */
export type TlsKey =
  | { readonly key: string }
  | { readonly privateKeyEngine: string; readonly privateKeyIdentifier: string };

/** Keys are EC on P-256. A name is any text without secrets; it is stored where a key in PEM would be. */
export interface KeyProvider {
  /** Makes a key pair and gives its name. Each certificate has a key of its own. */
  make(): Promise<string>;
  /** SubjectPublicKeyInfo, DER. Rejects or throws when there is no such key. */
  publicKey(name: string): Promise<Buffer>;
  /** ECDSA with SHA-256 over `data`; the signature in DER. */
  sign(name: string, data: Buffer): Promise<Buffer>;
  tls(name: string): TlsKey;
}

const makeKeyPair = promisify(generateKeyPair);

/** The name of a key is the key itself, PKCS#8 PEM. */
export const pemKeys: KeyProvider = {
  make: async () => {
    const { privateKey } = await makeKeyPair('ec', { namedCurve: 'prime256v1' });
    return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  },
  publicKey: async (pem) => createPublicKey(createPrivateKey(pem)).export({ type: 'spki', format: 'der' }),
  sign: async (pem, data) => sign('sha256', data, createPrivateKey(pem)),
  tls: (pem) => ({ key: pem }),
};

/** The public key of a provider's key, as Node knows it. */
export async function publicKeyOf(keys: KeyProvider, name: string): Promise<KeyObject> {
  return createPublicKey({ key: await keys.publicKey(name), format: 'der', type: 'spki' });
}
