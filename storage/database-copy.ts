/** Makes a changed copy of an SQLite file that others may be reading and writing. Does not know what is stored. */

import { rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import { openDatabaseToRead, syncFile } from './database-file.ts';

/**
 * Copies `file` to `draft`, has `change` change the copy, and makes it compact and durable. A file at `draft` is removed first.
 * A crash leaves a draft that is never opened. Throws what SQLite, the file system and `change` throw.
 */
export function copyChanged<Result>(file: string, draft: string, change: (copy: Database.Database) => Result): Result {
  removeDraft(draft);
  const original = openDatabaseToRead(file);
  try {
    original.prepare('VACUUM INTO ?').run(draft);
  } finally {
    original.close();
  }
  const copy = new Database(draft);
  let result: Result;
  try {
    copy.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF');
    result = change(copy);
    copy.exec('VACUUM');
  } finally {
    copy.close();
  }
  syncFile(draft);
  return result;
}

export function removeDraft(draft: string): void {
  for (const side of ['', '-journal', '-wal', '-shm']) rmSync(draft + side, { force: true });
}
