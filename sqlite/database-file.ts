/**
 * Opens one SQLite file of ours, or makes it, with what lets a commit mean "on disk". Knows headers and pragmas; does not
 * know what is stored, and keeps no connection.
 */

import { chmodSync, closeSync, existsSync, fstatSync, openSync, readSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { Problem } from '../contract/problem.ts';
import { isDamage } from './storage-problem.ts';
import { syncDirectory } from './sync-directory.ts';

/** What a file must say of itself to be taken for one of its kind. */
export interface FileKind {
  /** As a refusal names it: `a registry`. */
  readonly name: string;
  /** 32 bits in the header, which tell it from any other SQLite file. */
  readonly applicationId: number;
  /** The newest `user_version` that is understood. */
  readonly schema: number;
  /** How long a commit waits for another process (a backup, a shell) that holds the file, milliseconds; the thread waits, too. */
  readonly busyTimeoutMs: number;
  /** What an operator does about one that is damaged. */
  readonly remedy: string;
}

export interface Opening {
  readonly file: string;
  readonly kind: FileKind;
  /** How much is read before it is trusted. A long file is slow to read whole. */
  readonly check: 'header' | 'every page';
  /** Fills a file that doesn't exist yet; without it such a file is refused. */
  readonly create?: (database: Database.Database) => void;
  /** The last thing before it counts as open: settings and migrations of its own. */
  readonly prepare?: (database: Database.Database) => void;
}

const SYNCHRONOUS_FULL = 2;
const HEADER_BYTES = 100;

/**
 * Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`, and the Problems of `prepare`. A file that
 * exists is never taken for a new one: an emptied database is damage, not a fresh start.
 */
export function openDatabaseFile({ file, kind, check, create, prepare }: Opening): Database.Database {
  try {
    if (create !== undefined && !existsSync(file)) createDatabaseFile(file, kind, create);
    for (const path of [file, `${file}-wal`, `${file}-shm`]) keepPrivate(path);
    expectWhole(file, kind);
    const database = new Database(file, { fileMustExist: true, timeout: kind.busyTimeoutMs });
    try {
      if (check === 'every page') expectSound(database, kind);
      expectKind(database, kind);
      expectPragma(database, 'journal_mode', 'wal', 'WAL');
      // better-sqlite3 is compiled so that a WAL file that is opened again falls to NORMAL, which can lose commits
      // when the power fails (SQLite, "PRAGMA synchronous"): ask every time, and look every time.
      expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
      prepare?.(database);
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  } catch (error) {
    throw openingProblem(error, file, kind);
  }
}

/**
 * Built beside its place and renamed into it, so that a crash half-way leaves no file that looks like one of ours. `fill`
 * writes its tables and `user_version`. Throws what SQLite and the file system throw, and leaves nothing behind then.
 */
export function createDatabaseFile(file: string, kind: FileKind, fill: (database: Database.Database) => void): void {
  const draft = `${file}.new`;
  const removeDraft = () => {
    for (const path of [draft, `${draft}-journal`]) rmSync(path, { force: true });
  };
  try {
    removeDraft();
    closeSync(openSync(draft, 'wx', 0o600)); // SQLite gives its -wal and -shm files the mode of the main file
    const database = new Database(draft, { timeout: kind.busyTimeoutMs });
    try {
      expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
      fill(database);
      database.pragma(`application_id = ${kind.applicationId}`);
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

/**
 * A database that ends before its own header says it does was cut (SQLite file format, section 1.3), and SQLite opens it
 * all the same. Throws Problem `database_damaged`.
 */
export function expectWhole(file: string, kind: FileKind): void {
  // A crash amid a checkpoint leaves a header that is ahead of its file; the log makes it whole again.
  if ((statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0) return;
  const descriptor = openSync(file, 'r');
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(descriptor, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) {
      throw damaged(file, kind, `expected ${kind.name}, found an empty file`);
    }
    const pageSize = header.readUInt16BE(16) === 1 ? 65_536 : header.readUInt16BE(16);
    const expected = pageSize * header.readUInt32BE(28);
    const found = fstatSync(descriptor).size;
    if (found < expected) throw damaged(file, kind, `expected ${expected} bytes, found ${found}`);
  } finally {
    closeSync(descriptor);
  }
}

/** Reads every page. Throws Problem `database_damaged`, or what SQLite throws. */
export function expectSound(database: Database.Database, kind: FileKind): void {
  const found = database.pragma('quick_check(1)', { simple: true });
  if (found !== 'ok') throw damaged(database.name, kind, String(found));
}

/** Sets a pragma and looks whether it took: SQLite ignores what it doesn't know, or can't do. Throws when it didn't. */
export function expectPragma(
  database: Database.Database,
  name: string,
  expected: string | number,
  setting: string,
): void {
  database.pragma(`${name} = ${setting}`);
  const found = database.pragma(name, { simple: true });
  if (found !== expected) throw new Error(`expected pragma ${name} to be ${expected}, found ${found}`);
}

function expectKind(database: Database.Database, kind: FileKind): void {
  if (database.pragma('application_id', { simple: true }) !== kind.applicationId) {
    throw damaged(database.name, kind, `expected ${kind.name}, found an empty or foreign database`);
  }
  const version = database.pragma('user_version', { simple: true }) as number;
  if (version <= kind.schema) return;
  throw new Problem('database_newer', {
    reason: `${database.name}: expected schema ${kind.schema} or older, found ${version}`,
    hint: 'run the version of Rollcall that wrote it, or a newer one',
  });
}

function keepPrivate(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw new Error('expected a file, found something else');
  chmodSync(path, 0o600);
}

function openingProblem(error: unknown, file: string, kind: FileKind): unknown {
  if (error instanceof Problem) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (isDamage(error)) return damaged(file, kind, reason, error);
  return new Problem('data_directory_unusable', { reason: `${file}: ${reason}`, cause: error });
}

function damaged(file: string, { remedy }: FileKind, reason: string, cause?: unknown): Problem {
  return new Problem('database_damaged', { reason: `${file}: ${reason}`, hint: remedy, cause });
}
