/**
 * What opening a database would refuse, found before anything is changed: a start that is refused for one database must not have
 * migrated another. The caller holds the lock on the directory.
 */

import { existsSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import {
  expectIntegrity,
  expectKind,
  type FileKind,
  type OpenDatabaseOptions,
  openingProblem,
} from './database-file.ts';

export interface InspectDatabaseOptions extends Pick<OpenDatabaseOptions, 'file' | 'check'> {
  readonly kind: FileKind;
  /** What else opening expects. */
  readonly expect?: (database: Database.Database) => void;
}

/** Throws as `openDatabaseFile()` does, and what `expect` throws. A file that does not exist yet is no fault. */
export function inspectDatabaseFile({ file, kind, check, expect }: InspectDatabaseOptions): void {
  try {
    if (!existsSync(file)) return;
    // A connection that may write takes a log into the file when it closes; one that only reads leaves -wal and -shm beside it.
    const hasLog = (statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0;
    const database = new Database(file, { readonly: hasLog, fileMustExist: true, timeout: kind.busyTimeoutMs });
    try {
      if (check === 'every page') expectIntegrity(database, kind);
      expectKind(database, kind);
      expect?.(database);
    } finally {
      database.close();
    }
  } catch (error) {
    throw openingProblem(error, file, kind);
  }
}
