/** What a data directory says of itself while a fleet moves into it, and after the fleet has moved away: a file, or none. */

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import { z } from 'zod';
import { syncDirectory } from '../../storage/index.ts';
import type { StoreNote } from '../../storage/postgres/index.ts';

const FILE = 'migration.json';

const schema = z.object({
  state: z.enum(['receiving', 'moved']),
  migration: z.string(),
  other: z.string(),
  at: z.number(),
});

/** Undefined without one. Throws Problem `data_directory_unusable` for a file that is none. */
export function readDirectoryNote(directory: string): StoreNote | undefined {
  const file = join(directory, FILE);
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Problem('data_directory_unusable', { reason: `${file}: expected a note of a migration`, cause });
  }
}

/** On disk when it returns. */
export function writeDirectoryNote(directory: string, note: StoreNote): void {
  const file = join(directory, FILE);
  const descriptor = openSync(`${file}.new`, 'w', 0o600);
  try {
    writeFileSync(descriptor, `${JSON.stringify(note)}\n`);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(`${file}.new`, file);
  syncDirectory(directory);
}

export function removeDirectoryNote(directory: string): void {
  rmSync(join(directory, FILE), { force: true });
  syncDirectory(directory);
}
