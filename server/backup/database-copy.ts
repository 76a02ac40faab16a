/**
 * One moment of an SQLite file that another process may be writing. Knows nothing of what is in it. Only for a process that
 * serves nothing: it reads files by descriptors of its own, which end the locks of every connection in its process.
 */

import { closeSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import type { Database } from 'better-sqlite3';
import { integrityOf, openDatabaseToRead } from '../../storage/index.ts';

const MAGIC = 'SQLite format 3\0';
const BUSY_TIMEOUT_MS = 10_000;

export function isDatabase(file: string): boolean {
  const descriptor = openSync(file, 'r');
  try {
    const found = Buffer.alloc(MAGIC.length);
    return readSync(descriptor, found, 0, found.length, 0) === found.length && found.toString('latin1') === MAGIC;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Calls `use` with a file that doesn't change meanwhile, and a connection that reads the same moment. A file without a log is read as it lies: while a transaction reads it
 * and finds no log, nobody may write into it (SQLite, "WAL-mode file format", section 2.3.1). Of any other a copy is made at
 * `draft`, which must not exist and is left to the caller. Throws what SQLite throws.
 */
export function withDatabaseSnapshot(
  file: string,
  draft: string,
  use: (snapshotFile: string, snapshot: Database) => void,
): void {
  const database = openDatabaseToRead(file, BUSY_TIMEOUT_MS);
  try {
    database.exec('BEGIN');
    database.pragma('schema_version'); // a transaction begins with the first look
    if ((statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0) {
      use(file, database);
      database.exec('COMMIT');
      return;
    }
    database.exec('COMMIT');
    // SQLite would make it as readable as the umask allows, and follow a link; an empty file it fills as it is.
    closeSync(openSync(draft, 'wx', 0o600));
    database.prepare('VACUUM INTO ?').run(draft);
  } finally {
    database.close();
  }
  const copy = openDatabaseToRead(draft);
  try {
    use(draft, copy);
  } finally {
    copy.close();
    for (const beside of ['-wal', '-shm']) rmSync(`${draft}${beside}`, { force: true });
  }
}

/** Reads the whole file. Throws Problem `backup_unusable`. */
export function expectIntactDatabase(file: string): void {
  const found = integrityOf(file);
  if (found !== 'ok') throw new Problem('backup_unusable', { detail: `expected a sound database, found ${found}` });
}
