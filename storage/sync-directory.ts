/** Makes created, renamed and removed names in a directory durable. The caller syncs the files themselves. */

import { closeSync, fsyncSync, openSync } from 'node:fs';

/** A new name in a directory is on disk only when the directory is. Throws what the file system throws. */
export function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
