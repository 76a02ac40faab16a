/**
 * Keys of CAs on their way to another node: encrypted to a key that exists for this one transfer (ECDH on P-256, HKDF with SHA-256,
 * AES-256-GCM), beside the TLS around it, so that they are in no buffer or log of a proxy.
 */

import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { type EncryptedKeys, Problem } from '@rollcall/protocol';

const INFO = 'rollcall node keys 1';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Files of `ca/` by name. */
export type KeyFiles = Readonly<Record<string, string>>;

export interface TransferKey {
  readonly privateKey: KeyObject;
  /** SPKI, base64. */
  readonly publicKey: string;
}

export function createTransferKey(): TransferKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, publicKey: spki(publicKey) };
}

/**
 * `bound`: a text that the receiver has to know as well, for what the keys are sent for. Throws Problem `request_invalid` for a receiver's key
 * that is none on P-256.
 */
export function encryptKeys(files: KeyFiles, receiverKey: string, bound = ''): EncryptedKeys {
  const sender = createTransferKey();
  const nonce = randomBytes(NONCE_BYTES);
  const key = sharedKey(sender.privateKey, receiverKey, [sender.publicKey, receiverKey]);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(bound));
  const ciphertext = Buffer.concat([cipher.update(JSON.stringify(files), 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return {
    senderKey: sender.publicKey,
    nonce: nonce.toString('base64'),
    ciphertext: ciphertext.toString('base64'),
  };
}

/** Throws Problem `request_invalid` when they were encrypted to another key or for something else, or were changed. */
export function decryptKeys(
  { senderKey, nonce, ciphertext }: EncryptedKeys,
  { privateKey, publicKey }: TransferKey,
  bound = '',
): KeyFiles {
  const key = sharedKey(privateKey, senderKey, [senderKey, publicKey]);
  const bytes = Buffer.from(ciphertext, 'base64');
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(nonce, 'base64'), { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(bound)).setAuthTag(bytes.subarray(-TAG_BYTES));
    const text = Buffer.concat([decipher.update(bytes.subarray(0, -TAG_BYTES)), decipher.final()]);
    return JSON.parse(text.toString('utf8')) as KeyFiles;
  } catch (error) {
    throw new Problem('request_invalid', { reason: 'expected keys that were encrypted to this node', cause: error });
  }
}

function sharedKey(privateKey: KeyObject, otherSpki: string, context: readonly string[]): Buffer {
  const publicKey = readPublicKey(otherSpki);
  const secret = diffieHellman({ privateKey, publicKey });
  return Buffer.from(hkdfSync('sha256', secret, context.join(' '), INFO, KEY_BYTES));
}

function readPublicKey(text: string): KeyObject {
  try {
    const key = createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  } catch {}
  throw new Problem('request_invalid', { detail: 'expected a transfer key on P-256' });
}

function spki(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'der' }).toString('base64');
}
