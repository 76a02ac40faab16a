/** New files for what nobody else may read: mode 0600, on disk when written, and never in place of a file that exists. */

import { closeSync, fstatSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';

export interface NewFile {
  /** Writes the whole text and syncs it. Call it once. */
  write(text: string): void;
  /** Removes the file. */
  discard(): void;
}

/** Creates the file, so that nothing is made that could not be written afterwards. Throws Problem `usage`. */
export function createPrivateFile(path: string): NewFile {
  let handle: number;
  try {
    handle = openSync(path, 'wx', 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Problem('usage', {
      reason: code === 'EEXIST' ? `${path} exists, and is not overwritten` : `cannot write ${path}: ${code}`,
    });
  }
  return {
    write: (text) => {
      try {
        writeSync(handle, text);
        fsyncSync(handle);
      } finally {
        closeSync(handle);
      }
    },
    discard: () => {
      closeSync(handle);
      rmSync(path, { force: true });
    },
  };
}

/** Whether standard output is a file that other users may read, as `> FILE` leaves it under the usual umask. */
export function isOutputReadableByOthers(): boolean {
  try {
    const output = fstatSync(1);
    return output.isFile() && (output.mode & 0o044) !== 0;
  } catch {
    return false; // closed
  }
}
