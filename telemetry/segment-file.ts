/**
 * Opens one segment of the journal, an SQLite file, or creates it, with what makes a commit mean "on disk". Does not read
 * or write messages. The registry opens its own file by the same rules; the two rooms share no code, only habits.
 */

import { chmodSync, closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { Problem } from '../contract/problem.ts';

const SCHEMA_VERSION = 1;

/** Tells a segment from any other SQLite file: "RCtj". */
const APPLICATION_ID = 0x5243746a;

/** How long a commit waits for another process (a backup, a shell) that holds the file, before it is tried again. */
const BUSY_TIMEOUT_MS = 500;

const SYNCHRONOUS_FULL = 2;

/**
 * Messages lie in the order of acceptance. An index by device over all of them would touch one page per message; so
 * positions are indexed in runs, each written once, sorted, at the end of its table: a tenth of the cost (measured),
 * for one more seek per run when reading. There are no foreign keys: each would cost a seek per row.
 */
const SCHEMA = `
  CREATE TABLE segment (first_position INTEGER NOT NULL) STRICT;

  CREATE TABLE devices (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
  ) STRICT;

  CREATE TABLE sources (
    id     INTEGER PRIMARY KEY,
    device INTEGER NOT NULL,
    stream TEXT NOT NULL,
    UNIQUE (device, stream)
  ) STRICT;

  CREATE TABLE messages (
    position        INTEGER PRIMARY KEY,
    source          INTEGER NOT NULL,
    received_at     INTEGER NOT NULL,
    qos             INTEGER NOT NULL CHECK (qos BETWEEN 0 AND 2),
    payload         BLOB NOT NULL,
    device_time     REAL,
    device_sequence REAL,
    message_key     TEXT,
    content_type    TEXT
  ) STRICT;

  -- A run is the messages up to a position and after the run before it.
  CREATE TABLE runs (
    last_position INTEGER PRIMARY KEY,
    oldest_at     INTEGER NOT NULL,
    newest_at     INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE run_messages (
    run         INTEGER NOT NULL,
    device      INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    source      INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (run, device, position)
  ) STRICT, WITHOUT ROWID;

  -- The newest message of each source, as of the latest run; it may lie in an older segment.
  CREATE TABLE newest (
    source   INTEGER PRIMARY KEY,
    position INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE message_keys (
    device   INTEGER NOT NULL,
    key      TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (device, key)
  ) STRICT, WITHOUT ROWID;
`;

/** What the newest segment hands on to the next one: who there is, and where its newest messages lie. */
const INHERIT = `
  INSERT INTO newest SELECT source, position FROM older.newest WHERE position >= @oldest;
  INSERT INTO sources SELECT s.* FROM older.sources AS s JOIN newest AS n ON n.source = s.id;
  INSERT INTO devices SELECT * FROM older.devices WHERE id IN (SELECT device FROM sources);
`;

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export function openSegmentFile(file: string): Database.Database {
  try {
    for (const path of [file, `${file}-wal`, `${file}-shm`]) keepPrivate(path);
    expectWhole(file);
    const database = new Database(file, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    try {
      expectSegment(database);
      expectPragma(database, 'journal_mode', 'wal', 'WAL');
      // better-sqlite3 is compiled so that a WAL file that is opened again falls to NORMAL, which can lose commits
      // when the power fails (SQLite, "PRAGMA synchronous"): ask every time, and look every time.
      expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
      database.pragma('wal_checkpoint(TRUNCATE)');
      expectWhole(file);
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  } catch (error) {
    throw openingProblem(error, file);
  }
}

export interface NewSegment {
  readonly firstPosition: number;
  /** The segment before it, and the first position that is still kept. */
  readonly heir?: { readonly older: string; readonly oldestPosition: number };
}

/** Built beside its place and renamed into it, so that a crash half-way leaves no file that looks like a segment. */
export function createSegmentFile(file: string, { firstPosition, heir }: NewSegment): void {
  const draft = `${file}.new`;
  const removeDraft = () => {
    for (const path of [draft, `${draft}-journal`]) rmSync(path, { force: true });
  };
  try {
    removeDraft();
    closeSync(openSync(draft, 'wx', 0o600)); // SQLite gives its -wal and -shm files the mode of the main file
    const database = new Database(draft, { timeout: BUSY_TIMEOUT_MS });
    try {
      expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
      if (heir !== undefined) database.prepare('ATTACH ? AS older').run(heir.older);
      database.exec('BEGIN');
      database.exec(SCHEMA);
      database.prepare('INSERT INTO segment VALUES (?)').run(firstPosition);
      if (heir !== undefined) {
        const [newest, ...rest] = INHERIT.trim().split(';\n') as [string, ...string[]];
        database.prepare(newest).run({ oldest: heir.oldestPosition });
        for (const sql of rest) database.exec(sql);
      }
      database.pragma(`application_id = ${APPLICATION_ID}`);
      database.pragma(`user_version = ${SCHEMA_VERSION}`);
      database.exec('COMMIT');
    } finally {
      database.close();
    }
    renameSync(draft, file);
    syncDirectory(dirname(file));
  } catch (error) {
    removeDraft();
    throw error;
  }
}

/** A new name in a directory is on disk only when the directory is. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function keepPrivate(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw new Error('expected a file, found something else');
  chmodSync(path, 0o600);
}

/**
 * A database that ends before its own header says it does was cut (SQLite file format, section 1.3). SQLite opens it
 * all the same. Nothing is read beyond the header: a check of every page would make a long journal slow to open.
 * Throws Problem `database_damaged`.
 */
export function expectWhole(file: string): void {
  // A crash amid a checkpoint leaves a header that is ahead of its file; the log makes it whole again.
  if ((statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0) return;
  const descriptor = openSync(file, 'r');
  try {
    const header = Buffer.alloc(100);
    if (readSync(descriptor, header, 0, 100, 0) < 100) throw damaged(file, 'expected a segment, found an empty file');
    const pageSize = header.readUInt16BE(16) === 1 ? 65_536 : header.readUInt16BE(16);
    const expected = pageSize * header.readUInt32BE(28);
    const found = fstatSync(descriptor).size;
    if (found < expected) throw damaged(file, `expected ${expected} bytes, found ${found}`);
  } finally {
    closeSync(descriptor);
  }
}

/** Looks at every page. Throws Problem `database_damaged`. */
export function expectSound(database: Database.Database): void {
  const found = database.pragma('quick_check(1)', { simple: true });
  if (found !== 'ok') throw damaged(database.name, String(found));
}

function expectSegment(database: Database.Database): void {
  if (database.pragma('application_id', { simple: true }) !== APPLICATION_ID) {
    throw damaged(database.name, 'expected a segment of a journal, found a foreign database');
  }
  const version = database.pragma('user_version', { simple: true }) as number;
  if (version > SCHEMA_VERSION) {
    throw new Problem('database_newer', {
      reason: `${database.name}: expected schema ${SCHEMA_VERSION} or older, found ${version}`,
      hint: 'run the version of Rollcall that wrote it, or a newer one',
    });
  }
}

function expectPragma(database: Database.Database, name: string, expected: string | number, setting: string): void {
  database.pragma(`${name} = ${setting}`);
  const found = database.pragma(name, { simple: true });
  if (found !== expected) throw new Error(`expected pragma ${name} to be ${expected}, found ${found}`);
}

function damaged(file: string, reason: string, cause?: unknown): Problem {
  return new Problem('database_damaged', {
    reason: `${file}: ${reason}`,
    hint: 'restore the file from a backup',
    cause,
  });
}

function openingProblem(error: unknown, file: string): unknown {
  if (error instanceof Problem) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (isDamage(error)) return damaged(file, reason, error);
  return new Problem('data_directory_unusable', { reason: `${file}: ${reason}`, cause: error });
}

/** Something was read that no SQLite wrote. */
export function isDamage(error: unknown): boolean {
  if (error instanceof Problem) return error.code === 'database_damaged';
  return error instanceof Database.SqliteError && /^SQLITE_(NOTADB|CORRUPT)/.test(error.code);
}

/** What SQLite refused, as the rest of the house reads it: `unavailable` when the same may work later. */
export function storageProblem(error: unknown): unknown {
  if (error instanceof Problem) return error;
  if (isDamage(error)) return new Problem('database_damaged', { reason: (error as Error).message, cause: error });
  const code = (error as { readonly code?: unknown }).code;
  if (typeof code !== 'string') return error;
  const passes = /^(SQLITE_(FULL|BUSY|LOCKED|IOERR|READONLY|CANTOPEN|NOMEM)|ENOSPC|EDQUOT|EMFILE|ENFILE|EIO)/.test(
    code,
  );
  return new Problem(passes ? 'unavailable' : 'internal', {
    reason: `${code}: ${(error as Error).message}`,
    cause: error,
  });
}
