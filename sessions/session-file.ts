/**
 * Opens the file of what is kept between connections, or creates it, with what makes a commit mean "on disk". Does not
 * know what changes, or when. Registry and telemetry open their files by the same rules; the rooms share no code, only
 * habits.
 */

import { chmodSync, closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { Problem } from '../contract/problem.ts';

const SCHEMA_VERSION = 1;

/** Tells this file from any other of SQLite: "RCse". */
const APPLICATION_ID = 0x52437365;

/** How long a commit waits for another process (a backup, a shell) that holds the file, before it is tried again. */
const BUSY_TIMEOUT_MS = 500;

const SYNCHRONOUS_FULL = 2;

/**
 * A message for a thousand clients is one body and a thousand queue rows. There are no foreign keys: who writes knows
 * which body is used no more, and each key would cost a seek per row.
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

/**
 * Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. A file that can't be read is not
 * replaced by an empty one: in it may be commands that somebody was told are kept.
 */
export function openSessionFile(file: string): Database.Database {
  try {
    if (!existsSync(file)) create(file);
    for (const path of [file, `${file}-wal`, `${file}-shm`]) keepPrivate(path);
    return connect(file);
  } catch (error) {
    throw openingProblem(error, file);
  }
}

/** Looks at every page. Throws Problem `database_damaged`. */
export function expectSound(database: Database.Database): void {
  try {
    const found = database.pragma('quick_check(1)', { simple: true });
    if (found !== 'ok') throw damaged(database.name, String(found));
  } catch (error) {
    throw openingProblem(error, database.name);
  }
}

/** What SQLite refused, as the rest of the house reads it: `unavailable` when the same may work later. */
export function storageProblem(error: unknown): unknown {
  if (error instanceof Problem) return error;
  const code = (error as { readonly code?: unknown }).code;
  if (typeof code !== 'string') return error;
  const reason = `${code}: ${(error as Error).message}`;
  if (isDamage(error)) return new Problem('database_damaged', { reason, cause: error });
  const passes = /^(SQLITE_(FULL|BUSY|LOCKED|IOERR|READONLY|CANTOPEN|NOMEM)|ENOSPC|EDQUOT|EMFILE|ENFILE|EIO)/;
  return new Problem(passes.test(code) ? 'unavailable' : 'internal', { reason, cause: error });
}

function connect(file: string): Database.Database {
  const database = new Database(file, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  try {
    if (database.pragma('application_id', { simple: true }) !== APPLICATION_ID) {
      throw damaged(file, 'expected the file of sessions, found an empty or foreign database');
    }
    const version = database.pragma('user_version', { simple: true }) as number;
    if (version > SCHEMA_VERSION) {
      throw new Problem('database_newer', {
        reason: `${file}: expected schema ${SCHEMA_VERSION} or older, found ${version}`,
        hint: 'run the version of Rollcall that wrote it, or a newer one',
      });
    }
    expectPragma(database, 'journal_mode', 'wal', 'WAL');
    // better-sqlite3 is compiled so that a WAL file that is opened again falls to NORMAL, which can lose commits
    // when the power fails (SQLite, "PRAGMA synchronous"): ask every time, and look every time.
    expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Built beside its place and renamed into it, so that a crash half-way leaves no file that looks like one of ours. */
function create(file: string): void {
  const draft = `${file}.new`;
  for (const path of [draft, `${draft}-journal`]) rmSync(path, { force: true });
  closeSync(openSync(draft, 'wx', 0o600)); // SQLite gives its -wal and -shm files the mode of the main file
  const database = new Database(draft, { timeout: BUSY_TIMEOUT_MS });
  try {
    expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
    database.exec(`BEGIN; ${SCHEMA}`);
    database.pragma(`application_id = ${APPLICATION_ID}`);
    database.pragma(`user_version = ${SCHEMA_VERSION}`);
    database.exec('COMMIT');
  } finally {
    database.close();
  }
  renameSync(draft, file);
  const directory = openSync(dirname(file), 'r');
  try {
    fsyncSync(directory); // a new name in a directory is on disk only when the directory is
  } finally {
    closeSync(directory);
  }
}

function keepPrivate(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw new Error('expected a file, found something else');
  chmodSync(path, 0o600);
}

function expectPragma(database: Database.Database, name: string, expected: string | number, setting: string): void {
  database.pragma(`${name} = ${setting}`);
  const found = database.pragma(name, { simple: true });
  if (found !== expected) throw new Error(`expected pragma ${name} to be ${expected}, found ${found}`);
}

function isDamage(error: unknown): boolean {
  return error instanceof Database.SqliteError && /^SQLITE_(NOTADB|CORRUPT)/.test(error.code);
}

function damaged(file: string, reason: string, cause?: unknown): Problem {
  return new Problem('database_damaged', {
    reason: `${file}: ${reason}`,
    hint: 'restore it from a backup, or move it away: then subscriptions, queued and retained messages and wills are lost',
    cause,
  });
}

function openingProblem(error: unknown, file: string): unknown {
  if (error instanceof Problem) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (isDamage(error)) return damaged(file, reason, error);
  return new Problem('data_directory_unusable', { reason: `${file}: ${reason}`, cause: error });
}
