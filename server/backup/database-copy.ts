/**
 * Snapshots of an SQLite file that another process may be writing. Must not run in the process of a server: closing a
 * descriptor of the file releases the POSIX locks of every connection in the process.
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
 * Calls `use` with a file that does not change meanwhile, and with a connection that reads the same snapshot. A file without
 * a write-ahead log is used itself: no process may write to it during a read transaction that found no log (SQLite, "WAL-mode
 * file format", section 2.3.1). Any other file is copied to `draft`, which must not exist; the caller removes it. Throws errors
 * of SQLite.
 */
export function withDatabaseSnapshot(
  file: string,
  draft: string,
  use: (snapshotFile: string, snapshot: Database) => void,
): void {
  const database = openDatabaseToRead(file, BUSY_TIMEOUT_MS);
  try {
    database.exec('BEGIN');
    database.pragma('schema_version'); // the transaction begins with the first read
    if ((statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0) {
      use(file, database);
      database.exec('COMMIT');
      return;
    }
    database.exec('COMMIT');
    // SQLite would create the file with the mode of the umask, and follow a link. It keeps the mode of an empty file.
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
  if (found !== 'ok') throw new Problem('backup_unusable', { detail: `expected an intact database, found ${found}` });
}
