/**
 * The keys that the console's TCP listener accepts, the operator key and the metrics key: their files, and the only comparison
 * with them. Never logs them.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { Problem } from '@rollcall/protocol';

const KEY_BYTES = 32;
const KEY = /^[A-Za-z0-9_-]{43}$/;

/** What its holder may do. */
export type KeyKind = 'operator' | 'metrics';

export class BearerKey {
  readonly #digest: Buffer;

  constructor(text: string) {
    this.#digest = digest(text);
  }

  /** Constant time for every input: digests of equal length are compared, not texts. */
  matches(presented: string): boolean {
    return timingSafeEqual(this.#digest, digest(presented));
  }
}

/**
 * Reads the key, or makes one of 256 random bits where there is none. Problem `private_key_exposed` when others than the
 * owner may use the file, `data_directory_unusable` when it cannot be read or holds something else.
 */
export async function openBearerKey(kind: KeyKind, path: string): Promise<BearerKey> {
  try {
    return new BearerKey((await createKey(path)) ?? (await readKey(kind, path)) ?? (await fillEmptyKey(path)));
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem('data_directory_unusable', { reason: `${kind} key ${path}: ${(error as Error).message}` });
  }
}

/** Undefined when there is a file already. */
async function createKey(path: string): Promise<string | undefined> {
  try {
    return await withFile(await open(path, 'wx', 0o600), writeKey);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  }
}

/** Undefined when the file is empty: a start was killed between creating and writing it. */
async function readKey(kind: KeyKind, path: string): Promise<string | undefined> {
  return await withFile(await open(path, 'r'), async (file) => {
    const mode = (await file.stat()).mode & 0o777;
    if ((mode & 0o077) !== 0) {
      throw new Problem('private_key_exposed', {
        reason: `expected mode 600 on ${kind} key ${path}, found ${mode.toString(8)}`,
        hint: `remove the file: a new ${kind} key is made at the next start`,
      });
    }
    const text = (await file.readFile('utf8')).trimEnd();
    if (text === '' || KEY.test(text)) return text || undefined;
    throw new Problem('data_directory_unusable', {
      reason: `expected 43 characters as ${kind} key in ${path}, found ${text.length}`,
      hint: `remove the file: a new ${kind} key is made at the next start`,
    });
  });
}

async function fillEmptyKey(path: string): Promise<string> {
  return await withFile(await open(path, 'r+'), writeKey);
}

async function writeKey(file: FileHandle): Promise<string> {
  const key = randomBytes(KEY_BYTES).toString('base64url');
  await file.write(`${key}\n`);
  await file.sync();
  return key;
}

async function withFile<T>(file: FileHandle, act: (file: FileHandle) => Promise<T>): Promise<T> {
  try {
    return await act(file);
  } finally {
    await file.close();
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
