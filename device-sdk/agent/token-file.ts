/** Reads the file with the machine's bootstrap token. */

import { readFile, stat } from 'node:fs/promises';

const TOKEN_FILE_MAX_BYTES = 4_096;

/** Undefined when there is none, because an enrolled device needs none. Never rejects. */
export async function readTokenFile(file: string): Promise<string | undefined> {
  try {
    if ((await stat(file)).size > TOKEN_FILE_MAX_BYTES) return undefined;
    const line = (await readFile(file, 'utf8')).split('\n', 1)[0]?.trim();
    return line === '' ? undefined : line;
  } catch {
    return undefined;
  }
}

/** A text that changes when the file changes. */
export async function fileVersion(file: string): Promise<string> {
  try {
    const { ino, mtimeMs, size } = await stat(file);
    return `${ino} ${mtimeMs} ${size}`;
  } catch {
    return 'none';
  }
}
