/**
 * The PIN that a token refused last, stored across restarts: a token locks itself after a few wrong PINs, and a service
 * manager restarts a failing server again and again. The file contains the token's serial number and a salted scrypt
 * hash, never the PIN. It is deleted when the token accepts a PIN, or by an operator.
 */

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { open, readFile, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { Problem } from '@rollcall/protocol';
export const REFUSED_PIN_FILE = 'refused-pin.json';

export interface RefusedPin {
  /** Problem `signer_unavailable` when this token refused this PIN, or when the file is damaged. */
  rejectIfKnown(serial: string, pin: string): Promise<void>;
  /** Stores it on disk; in memory also when the disk is full. */
  remember(serial: string, pin: string): Promise<void>;
  clear(): Promise<void>;
}

interface Entry {
  readonly serial: string;
  readonly salt: string;
  readonly hash: string;
}

const HASH_BYTES = 32;
const SHAPE = { serial: /^.{0,64}$/s, salt: /^[0-9a-f]{32}$/, hash: /^[0-9a-f]{64}$/ } as const;

export async function openRefusedPin(file: string): Promise<RefusedPin> {
  let entry = await readEntry(file);
  return {
    rejectIfKnown: async (serial, pin) => {
      if (entry === undefined || entry.serial !== serial) return;
      const hash = await hashOf(pin, entry.salt);
      if (!timingSafeEqual(hash, Buffer.from(entry.hash, 'hex'))) return;
      throw new Problem('signer_unavailable', {
        reason: `PKCS#11 token ${serial}: it refused this PIN, and a token locks itself: it is not tried again until the PIN file holds another one; if this one is right by now, remove ${file}`,
      });
    },
    remember: async (serial, pin) => {
      const salt = randomBytes(16).toString('hex');
      entry = { serial, salt, hash: (await hashOf(pin, salt)).toString('hex') };
      await replace(file, `${JSON.stringify(entry)}\n`);
    },
    clear: async () => {
      if (entry === undefined) return;
      entry = undefined;
      await unlink(file).catch(ignoreAbsence);
      await syncDirectory(file);
    },
  };
}

async function readEntry(file: string): Promise<Entry | undefined> {
  const text = await readFile(file, 'utf8').catch(ignoreAbsence);
  if (text === undefined) return undefined;
  try {
    const found = JSON.parse(text) as Record<string, unknown>;
    if (Object.entries(SHAPE).every(([name, shape]) => shape.test(String(found[name])))) return found as never;
  } catch {
    // the error below covers it
  }
  throw new Problem('signer_unavailable', {
    reason: `expected what is known of a refused PIN in ${file}, found a damaged file: check the PIN, then remove ${file}`,
  });
}

const derive = promisify<Buffer, Buffer, number, Buffer>(scrypt);

function hashOf(pin: string, salt: string): Promise<Buffer> {
  return derive(Buffer.from(pin), Buffer.from(salt, 'hex'), HASH_BYTES);
}

async function replace(file: string, text: string): Promise<void> {
  const temporary = `${file}.new`;
  const handle = await open(temporary, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  await syncDirectory(file);
}

async function syncDirectory(file: string): Promise<void> {
  const handle = await open(dirname(file), 'r');
  await handle.sync().finally(() => handle.close());
}

function ignoreAbsence(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
