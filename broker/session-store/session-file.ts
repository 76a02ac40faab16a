/** The SQLite file of the session store: how it is opened and inspected. */

import type Database from 'better-sqlite3';
import { type FileKind, inspectDatabaseFile, type OpenDatabaseOptions, openDatabaseFile } from '../../storage/index.ts';
import { migrateSessionFile, SESSION_SCHEMA } from './session-migrations.ts';

const SESSIONS: FileKind = {
  name: 'the file of sessions',
  applicationId: 0x52437365, // "RCse"
  schema: SESSION_SCHEMA,
  busyTimeoutMs: 500,
  remedy:
    'restore it from a backup, or move it away: then subscriptions, queued and retained messages and wills are lost',
};

/** Throws what `openSessionStore()` would throw for this file, and changes nothing. */
export function inspectSessionFile(file: string): void {
  inspectDatabaseFile({ file, kind: SESSIONS, check: 'every page' });
}

/**
 * Opens the file, or creates it, and brings it to the newest schema. Throws Problem `data_directory_unusable`, `database_damaged` or
 * `database_newer`. An unreadable file is not replaced by an empty one: it may contain commands whose acknowledgement was sent.
 */
export function openSessionFile(file: string, check: OpenDatabaseOptions['check']): Database.Database {
  return openDatabaseFile({ file, kind: SESSIONS, check, create: migrateSessionFile, prepare: migrateSessionFile });
}
