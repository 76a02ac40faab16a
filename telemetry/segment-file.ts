/**
 * Opens one segment of the journal, an SQLite file, or creates it, with what makes a commit mean "on disk". Does not read
 * or write messages. The registry opens its own file by the same rules; the two rooms share no code, only habits.
 */

import { chmodSync, closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { Problem } from '../contract/problem.ts';
import { NEWEST_PER_ROW, positionsOf } from './run-index.ts';

const SCHEMA_VERSION = 2;

/** Tells a segment from any other SQLite file: "RCtj". */
const APPLICATION_ID = 0x5243746a;

/** How long a commit waits for another process (a backup, a shell) that holds the file, before it is tried again. */
const BUSY_TIMEOUT_MS = 500;

const SYNCHRONOUS_FULL = 2;

/** A commit of a few messages writes one page, and a question reads one for each: neither much more nor much less. */
const PAGE_BYTES = 8192;

/** What a write-ahead log that had to grow, while somebody read for long, is cut back to. */
const LOG_BYTES = 67_108_864;

/**
 * Messages lie in the order of acceptance, in blocks (`block.ts`): a row for each would cost a third of all. An index by device
 * over all of them would touch one page per message; so positions are indexed in runs (`run-index.ts`), each written once and
 * sorted. There are no foreign keys: each would cost a seek per row.
 */
const SCHEMA = `
  CREATE TABLE segment (
    first_position     INTEGER NOT NULL,
    -- Whose messages are not kept any more (see retention.ts), and how many those were.
    forgotten          TEXT NOT NULL DEFAULT '',
    forgotten_messages INTEGER NOT NULL DEFAULT 0
  ) STRICT;

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

  -- By the position of its first message.
  CREATE TABLE blocks (
    position INTEGER PRIMARY KEY,
    checksum INTEGER NOT NULL,
    meta     BLOB NOT NULL,
    data     BLOB NOT NULL
  ) STRICT;

  CREATE TABLE runs (
    last_position  INTEGER PRIMARY KEY,
    first_position INTEGER NOT NULL,
    is_merged      INTEGER NOT NULL,
    oldest_at      INTEGER NOT NULL,
    newest_at      INTEGER NOT NULL,
    first_row      INTEGER NOT NULL,
    -- The first device of each of its rows.
    row_devices    BLOB NOT NULL
  ) STRICT;

  CREATE INDEX unmerged_runs ON runs (last_position) WHERE is_merged = 0;

  CREATE TABLE run_rows (
    id      INTEGER PRIMARY KEY,
    entries BLOB NOT NULL
  ) STRICT;

  -- The newest message of each source, as of the latest merged run; it may lie in an older segment.
  CREATE TABLE newest (
    id        INTEGER PRIMARY KEY,
    positions BLOB NOT NULL
  ) STRICT;

  CREATE TABLE message_keys (
    device INTEGER NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (device, key)
  ) STRICT, WITHOUT ROWID;
`;

/** Throws Problem `data_directory_unusable`, `database_damaged`, `database_older` or `database_newer`. */
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
      database.pragma(`journal_size_limit = ${LOG_BYTES}`);
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
      database.pragma(`page_size = ${PAGE_BYTES}`);
      if (heir !== undefined) database.prepare('ATTACH ? AS older').run(heir.older);
      database.exec('BEGIN');
      database.exec(SCHEMA);
      database.prepare('INSERT INTO segment (first_position) VALUES (?)').run(firstPosition);
      if (heir !== undefined) inherit(database, heir.oldestPosition);
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

/** What the newest segment hands on to the next one: who there is, and where its newest messages lie. */
function inherit(database: Database.Database, oldestPosition: number): void {
  const kept = new Map<number, Float64Array>();
  const rows = database.prepare('SELECT id, positions FROM older.newest').all() as {
    readonly id: number;
    readonly positions: Buffer;
  }[];
  const add = database.prepare('INSERT INTO newest (id, positions) VALUES (?, ?)');
  for (const { id, positions } of rows) {
    const row = positionsOf(positions).map((position) => (position >= oldestPosition ? position : 0));
    if (row.every((position) => position === 0)) continue;
    kept.set(id, row);
    add.run(id, Buffer.from(row.buffer));
  }
  database.function('is_kept', (source: unknown) => {
    const number = source as number;
    return (kept.get(Math.floor(number / NEWEST_PER_ROW))?.[number % NEWEST_PER_ROW] ?? 0) > 0 ? 1 : 0;
  });
  database.exec('INSERT INTO sources SELECT * FROM older.sources WHERE is_kept(id)');
  database.exec('INSERT INTO devices SELECT * FROM older.devices WHERE id IN (SELECT device FROM sources)');
}

/** A new name in a directory is on disk only when the directory is. */
export function syncDirectory(directory: string): void {
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
  if (version < SCHEMA_VERSION) {
    throw new Problem('database_older', {
      reason: `${database.name}: expected schema ${SCHEMA_VERSION}, found ${version}`,
      hint: 'export it with the version of Rollcall that wrote it, and move the telemetry directory away',
    });
  }
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
