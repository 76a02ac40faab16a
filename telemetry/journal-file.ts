/**
 * Opens the journal's SQLite file, or creates it, with what makes a commit mean "on disk". Does not read or write
 * messages. The registry opens its own file by the same rules; the two rooms share no code, only habits.
 */

import { chmodSync, closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { Problem } from '../contract/problem.ts';

const SCHEMA_VERSION = 1;

/** Tells a journal from any other SQLite file: "RCtj". */
const APPLICATION_ID = 0x5243746a;

/** How long a commit waits for another process (a backup, a shell) that holds the file. */
const BUSY_TIMEOUT_MS = 1000;

const SYNCHRONOUS_FULL = 2;

/**
 * Messages lie in the order of acceptance. An index by device over all of them would touch one page per message; so
 * positions are indexed in runs, each written once, sorted, at the end of its table: a tenth of the cost (measured),
 * for one more seek per run when reading.
 */
const SCHEMA = `
  CREATE TABLE messages (
    position    INTEGER PRIMARY KEY,
    device      TEXT NOT NULL,
    stream      TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    qos         INTEGER NOT NULL CHECK (qos BETWEEN 0 AND 2),
    payload     BLOB NOT NULL
  ) STRICT;

  -- A run is the messages up to a position and after the run before it.
  CREATE TABLE runs (
    last_position INTEGER PRIMARY KEY,
    newest_at     INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE run_messages (
    run         INTEGER NOT NULL REFERENCES runs (last_position),
    device      TEXT NOT NULL,
    position    INTEGER NOT NULL,
    stream      TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (run, device, position)
  ) STRICT, WITHOUT ROWID;

  -- The newest message of each stream, as of the latest run.
  CREATE TABLE newest (
    device   TEXT NOT NULL,
    stream   TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (device, stream)
  ) STRICT, WITHOUT ROWID;
`;

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. Creates the directory, mode 0700. */
export function openJournalFile(directory: string): Database.Database {
  const file = join(resolve(directory), 'journal.db');
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (!existsSync(file)) createJournalFile(file);
    for (const path of [file, `${file}-wal`, `${file}-shm`]) keepPrivate(path);
    const database = new Database(file, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    try {
      expectJournal(database);
      expectPragma(database, 'journal_mode', 'wal', 'WAL');
      // better-sqlite3 is compiled so that a WAL file that is opened again falls to NORMAL, which can lose commits
      // when the power fails (SQLite, "PRAGMA synchronous"): ask every time, and look every time.
      expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  } catch (error) {
    throw openingProblem(error, file);
  }
}

/** Built beside its place and renamed into it, so that a crash half-way leaves no file that looks like a journal. */
function createJournalFile(file: string): void {
  const draft = `${file}.new`;
  for (const path of [draft, `${draft}-journal`]) rmSync(path, { force: true });
  closeSync(openSync(draft, 'wx', 0o600)); // SQLite gives its -wal and -shm files the mode of the main file
  const database = new Database(draft, { timeout: BUSY_TIMEOUT_MS });
  try {
    expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
    database.exec(SCHEMA);
    database.pragma(`application_id = ${APPLICATION_ID}`);
    database.pragma(`user_version = ${SCHEMA_VERSION}`);
  } finally {
    database.close();
  }
  renameSync(draft, file);
}

function keepPrivate(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw new Error('expected a file, found something else');
  chmodSync(path, 0o600);
}

/** Reads the header only: a check of every page would make a long journal slow to open. */
function expectJournal(database: Database.Database): void {
  if (database.pragma('application_id', { simple: true }) !== APPLICATION_ID) {
    throw new Problem('database_damaged', { reason: 'expected a journal, found an empty or foreign database' });
  }
  const version = database.pragma('user_version', { simple: true }) as number;
  if (version > SCHEMA_VERSION) {
    throw new Problem('database_newer', {
      reason: `expected schema ${SCHEMA_VERSION} or older, found ${version}`,
      hint: 'run the version of Rollcall that wrote it, or a newer one',
    });
  }
}

function expectPragma(database: Database.Database, name: string, expected: string | number, setting: string): void {
  database.pragma(`${name} = ${setting}`);
  const found = database.pragma(name, { simple: true });
  if (found !== expected) throw new Error(`expected pragma ${name} to be ${expected}, found ${found}`);
}

function openingProblem(error: unknown, file: string): unknown {
  if (error instanceof Problem) return error;
  const reason = `${file}: ${error instanceof Error ? error.message : String(error)}`;
  if (error instanceof Database.SqliteError && /^SQLITE_(NOTADB|CORRUPT)/.test(error.code)) {
    return new Problem('database_damaged', { reason, hint: 'restore the file from a backup', cause: error });
  }
  return new Problem('data_directory_unusable', { reason, cause: error });
}
