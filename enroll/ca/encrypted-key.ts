/**
 * A private key encrypted with a passphrase: PKCS#8 EncryptedPrivateKeyInfo (RFC 5958, section 3) with scrypt (RFC 7914, section 7)
 * and AES-256-CBC, which every OpenSSL reads. Node's own export uses PBKDF2 with few rounds, hence this writer.
 */

import { createCipheriv, createPrivateKey, type KeyObject, randomBytes, scrypt } from 'node:crypto';
import { encodeDer, integer, octets, oid, sequence } from '../x509/der-writer.ts';

/** 16 MiB and five passes: the most that OpenSSL allows scrypt by default. */
const COST = { N: 16_384, r: 8, p: 5 } as const;
const KEY_BYTES = 32;

const OID = { pbes2: '1.2.840.113549.1.5.13', scrypt: '1.3.6.1.4.1.11591.4.11', aes256Cbc: '2.16.840.1.101.3.4.1.42' };

/** PEM: `ENCRYPTED PRIVATE KEY`. */
export async function encryptKey(key: KeyObject, passphrase: Buffer): Promise<string> {
  const salt = randomBytes(16);
  const iv = randomBytes(16);
  const wrapping = await derive(passphrase, salt);
  const cipher = createCipheriv('aes-256-cbc', wrapping, iv);
  const clear = key.export({ type: 'pkcs8', format: 'der' });
  const ciphertext = Buffer.concat([cipher.update(clear), cipher.final()]);
  clear.fill(0);
  wrapping.fill(0);
  const derivation = sequence(oid(OID.scrypt), sequence(octets(salt), ...[COST.N, COST.r, COST.p].map(integer)));
  const scheme = sequence(oid(OID.pbes2), sequence(derivation, sequence(oid(OID.aes256Cbc), octets(iv))));
  const lines = encodeDer(sequence(scheme, octets(ciphertext)))
    .toString('base64')
    .replace(/.{1,64}/g, '$&\n');
  return `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${lines}-----END ENCRYPTED PRIVATE KEY-----\n`;
}

/** Undefined for another passphrase, or for a text that is not an encrypted key. */
export function decryptKey(pem: string, passphrase: Buffer): KeyObject | undefined {
  if (!pem.includes('ENCRYPTED PRIVATE KEY')) return undefined;
  try {
    return createPrivateKey({ key: pem, passphrase });
  } catch {
    return undefined;
  }
}

function derive(passphrase: Buffer, salt: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(passphrase, salt, KEY_BYTES, { ...COST, maxmem: 64 * 1024 * 1024 }, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}
