/**
 * Private keys in a backup: sealed with a passphrase, or not there at all. scrypt (RFC 7914) makes a key of the passphrase,
 * AES-256-GCM seals with it; the parameters stand in front, and are sealed along as associated data.
 */

import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto';
import { Problem } from '../contract/problem.ts';

/** What guessing one passphrase costs: 128 MiB and a few tenths of a second. */
const COST = { N: 131_072, r: 8, p: 1, maxmem: 256 * 1_048_576 };

const MAGIC = Buffer.from('RCsecret1');
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = MAGIC.length + SALT_BYTES + NONCE_BYTES;

export const LEAST_PASSPHRASE = 12;

export function seal(plain: Uint8Array, passphrase: string): Buffer {
  const head = Buffer.concat([MAGIC, randomBytes(SALT_BYTES), randomBytes(NONCE_BYTES)]);
  const cipher = createCipheriv('aes-256-gcm', keyOf(head, passphrase), nonceOf(head)).setAAD(head);
  return Buffer.concat([head, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Throws Problem `backup_unusable` for another passphrase, or bytes that were changed. */
export function unseal(sealed: Buffer, passphrase: string): Buffer {
  const head = sealed.subarray(0, HEAD_BYTES);
  if (sealed.length < HEAD_BYTES + TAG_BYTES || !head.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new Problem('backup_unusable', { detail: 'expected sealed keys, found other bytes' });
  }
  const decipher = createDecipheriv('aes-256-gcm', keyOf(head, passphrase), nonceOf(head)).setAAD(head);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(HEAD_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch (cause) {
    throw new Problem('backup_unusable', {
      detail: 'expected the passphrase that sealed the keys, found another',
      cause,
    });
  }
}

function keyOf(head: Buffer, passphrase: string): Buffer {
  return scryptSync(passphrase, head.subarray(MAGIC.length, MAGIC.length + SALT_BYTES), 32, COST);
}

function nonceOf(head: Buffer): Buffer {
  return head.subarray(MAGIC.length + SALT_BYTES, HEAD_BYTES);
}
