/** Files that are either there whole or not there at all, also after a power cut. POSIX rename and directory fsync. */

import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Writes to a temporary neighbour, fsyncs it, renames it over `path`, and makes the rename itself durable. */
export async function writeDurably(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.tmp`;
  // Made anew: a leftover of a crash goes, and a link that another user put there is not followed.
  await rm(temporary, { force: true });
  const file = await open(temporary, 'wx', mode);
  try {
    await file.chmod(mode); // umask may have taken bits away
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

/** Windows can't open a directory, and its file systems need no such step. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
