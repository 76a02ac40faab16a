/** The SQLite file of the session store: its tables, and how it is opened and inspected. */

import type Database from 'better-sqlite3';
import { type FileKind, inspectDatabaseFile, type OpenDatabaseOptions, openDatabaseFile } from '../../storage/index.ts';

const SESSIONS: FileKind = {
  name: 'the file of sessions',
  applicationId: 0x52437365, // "RCse"
  schema: 1,
  busyTimeoutMs: 500,
  remedy:
    'restore it from a backup, or move it away: then subscriptions, queued and retained messages and wills are lost',
};

/**
 * A message for a thousand clients is one body and a thousand queue rows. There are no foreign keys: the writer knows
 * which bodies are unused, and each foreign key would cost a seek per row.
 */
const SCHEMA = `
  CREATE TABLE sessions (
    client_id  TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    about      TEXT NOT NULL,
    away_since INTEGER
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE subscriptions (
    client_id TEXT NOT NULL,
    filter    TEXT NOT NULL,
    qos       INTEGER NOT NULL,
    options   TEXT,
    PRIMARY KEY (client_id, filter)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE bodies (
    id      INTEGER PRIMARY KEY,
    topic   TEXT NOT NULL,
    payload BLOB NOT NULL,
    qos     INTEGER NOT NULL,
    retain  INTEGER NOT NULL
  ) STRICT;

  -- In the order of the ids. Without a body only the PUBREL is left to be sent.
  CREATE TABLE queued (
    id         INTEGER PRIMARY KEY,
    client_id  TEXT NOT NULL,
    body       INTEGER,
    message_id INTEGER
  ) STRICT;

  CREATE TABLE incoming (
    client_id  TEXT NOT NULL,
    message_id INTEGER NOT NULL,
    topic      TEXT NOT NULL,
    payload    BLOB NOT NULL,
    PRIMARY KEY (client_id, message_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE retained (
    topic   TEXT PRIMARY KEY,
    owner   TEXT,
    payload BLOB NOT NULL,
    qos     INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE wills (
    client_id TEXT PRIMARY KEY,
    about     TEXT,
    topic     TEXT NOT NULL,
    payload   BLOB NOT NULL,
    qos       INTEGER NOT NULL,
    retain    INTEGER NOT NULL
  ) STRICT;
`;

/** Throws what `openSessionStore()` would throw for this file, and changes nothing. */
export function inspectSessionFile(file: string): void {
  inspectDatabaseFile({ file, kind: SESSIONS, check: 'every page' });
}

/**
 * Opens the file, or creates it. Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. An unreadable
 * file is not replaced by an empty one: it may contain commands whose acknowledgement was sent.
 */
export function openSessionFile(file: string, check: OpenDatabaseOptions['check']): Database.Database {
  const create = (database: Database.Database) => {
    database.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${SESSIONS.schema}; COMMIT`);
  };
  return openDatabaseFile({ file, kind: SESSIONS, check, create });
}
