/** The operator key that opens the console's TCP door: its file, and the only comparison with it. Never logs it. */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Problem } from '../contract/problem.ts';

const KEY_BYTES = 32;
const KEY = /^[A-Za-z0-9_-]{43}$/;

export class OperatorKey {
  readonly #digest: Buffer;

  constructor(text: string) {
    this.#digest = digest(text);
  }

  /** Takes the same time whatever was presented: digests of equal length are compared, not texts. */
  matches(presented: string): boolean {
    return timingSafeEqual(this.#digest, digest(presented));
  }
}

/**
 * Reads the key, or makes one of 256 random bits where there is none. Problem `private_key_exposed` when others than the
 * owner may use the file, `data_directory_unusable` when it cannot be read or holds something else.
 */
export async function openOperatorKey(path: string): Promise<OperatorKey> {
  try {
    const file = await openOrCreate(path);
    try {
      return new OperatorKey(await readOrWriteKey(file, path));
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem('data_directory_unusable', { reason: `operator key ${path}: ${(error as Error).message}` });
  }
}

async function openOrCreate(path: string): Promise<FileHandle> {
  const { O_RDWR, O_CREAT, O_EXCL } = constants;
  try {
    return await open(path, O_RDWR | O_CREAT | O_EXCL, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return await open(path, O_RDWR);
  }
}

async function readOrWriteKey(file: FileHandle, path: string): Promise<string> {
  const mode = (await file.stat()).mode & 0o777;
  if ((mode & 0o077) !== 0) {
    throw new Problem('private_key_exposed', {
      reason: `expected mode 600 on operator key ${path}, found ${mode.toString(8)}`,
      hint: `remove the file: a new operator key is made at the next start`,
    });
  }
  const text = (await file.readFile('utf8')).trimEnd();
  if (KEY.test(text)) return text;
  if (text !== '') {
    throw new Problem('data_directory_unusable', {
      reason: `expected an operator key of 43 characters in ${path}, found ${text.length}`,
      hint: 'remove the file: a new operator key is made at the next start',
    });
  }
  // New, or left empty by a start that was killed between creating and writing.
  const key = randomBytes(KEY_BYTES).toString('base64url');
  await file.write(`${key}\n`, 0);
  await file.sync();
  return key;
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
