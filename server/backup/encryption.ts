/**
 * The encrypted section of a backup. scrypt (RFC 7914) derives a key from the passphrase, AES-256-GCM encrypts and
 * authenticates with it. Format, salt and nonce precede the ciphertext and are associated data.
 */

import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto';
import { Problem } from '@rollcall/protocol';

/** The cost of one guess: 128 MiB and a few tenths of a second. */
const COST = { N: 131_072, r: 8, p: 1, maxmem: 256 * 1_048_576 };

const MAGIC = { 1: Buffer.from('RCsecret1'), 2: Buffer.from('RCsecret2') } as const;
const MAGIC_BYTES = 9;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = MAGIC_BYTES + SALT_BYTES + NONCE_BYTES;

export const MIN_PASSPHRASE_CHARACTERS = 12;

export function encrypt(plain: Uint8Array, passphrase: string): Buffer {
  const head = Buffer.concat([MAGIC[2], randomBytes(SALT_BYTES), randomBytes(NONCE_BYTES)]);
  const cipher = createCipheriv('aes-256-gcm', keyOf(head, passphrase), nonceOf(head)).setAAD(head);
  return Buffer.concat([head, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Throws Problem `backup_unusable` for another passphrase, or bytes that were changed. */
export function decrypt(encrypted: Buffer, passphrase: string, format: keyof typeof MAGIC): Buffer {
  const head = encrypted.subarray(0, HEAD_BYTES);
  if (encrypted.length < HEAD_BYTES + TAG_BYTES || !head.subarray(0, MAGIC_BYTES).equals(MAGIC[format])) {
    throw new Problem('backup_unusable', { detail: 'expected encrypted keys, found other bytes' });
  }
  const decipher = createDecipheriv('aes-256-gcm', keyOf(head, passphrase), nonceOf(head)).setAAD(head);
  decipher.setAuthTag(encrypted.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(encrypted.subarray(HEAD_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch (cause) {
    throw new Problem('backup_unusable', {
      detail: 'expected the passphrase that encrypted the keys, and their bytes as they were written',
      cause,
    });
  }
}

function keyOf(head: Buffer, passphrase: string): Buffer {
  return scryptSync(passphrase, head.subarray(MAGIC_BYTES, MAGIC_BYTES + SALT_BYTES), 32, COST);
}

function nonceOf(head: Buffer): Buffer {
  return head.subarray(MAGIC_BYTES + SALT_BYTES, HEAD_BYTES);
}
