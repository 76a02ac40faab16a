/**
 * Opens, judges and creates SQLite files: the only module that opens one in the server. A commit means "on disk". Knows
 * headers and pragmas, not what is stored.
 *
 * POSIX locks belong to the process: closing any descriptor of a file drops all locks that SQLite holds on it, in every
 * thread ("How To Corrupt An SQLite Database File", section 2.2). So a file that may be open is read through SQLite, never
 * by a descriptor of our own; `stat` is harmless.
 */

import { chmodSync, closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { Problem } from '@rollcall/protocol';
import Database from 'better-sqlite3';
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

export interface OpenDatabaseOptions {
  readonly file: string;
  readonly kind: FileKind;
  /** How much is read before it is trusted. A long file is slow to read whole. */
  readonly check: 'header' | 'every page';
  /** Fills a file that doesn't exist yet; without it such a file is refused. */
  readonly create?: (database: Database.Database) => void;
  /** The last thing before it counts as open: settings and migrations of its own. */
  readonly prepare?: (database: Database.Database) => void;
}

const SYNCHRONOUS_OFF = 0;
const SYNCHRONOUS_FULL = 2;

/** How long a reader waits while another connection recovers the log after a crash. */
const READ_TIMEOUT_MS = 5000;

/**
 * Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`, and the Problems of `prepare`. A file that
 * exists is never taken for a new one: an emptied database is damage, not a fresh start.
 */
export function openDatabaseFile({ file, kind, check, create, prepare }: OpenDatabaseOptions): Database.Database {
  try {
    if (create !== undefined && !existsSync(file)) createDatabaseFile(file, kind, create);
    for (const path of [file, `${file}-wal`, `${file}-shm`]) keepPrivate(path);
    const database = new Database(file, { fileMustExist: true, timeout: kind.busyTimeoutMs });
    try {
      // SQLite itself refuses a file that is shorter than its header says.
      if (check === 'every page') expectIntegrity(database, kind);
      expectKind(database, kind);
      expectPragma(database, 'journal_mode', 'wal', 'WAL');
      // better-sqlite3 is compiled so that a WAL file that is opened again falls to NORMAL, which can lose commits
      // when the power fails (SQLite, "PRAGMA synchronous"): set it and verify it at each opening.
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
 * Creates the file beside its place, syncs it whole and renames it, so that a crash leaves no incomplete file. `fill` writes its
 * tables and `user_version`. Throws what SQLite and the file system throw, and leaves nothing behind then.
 */
export function createDatabaseFile(file: string, kind: FileKind, fill: (database: Database.Database) => void): void {
  const draft = `${file}.new`;
  const removeDraft = () => {
    for (const side of ['', '-journal', '-wal', '-shm']) rmSync(draft + side, { force: true });
  };
  try {
    removeDraft();
    closeSync(openSync(draft, 'wx', 0o600)); // SQLite gives its -wal and -shm files the mode of the main file
    const database = new Database(draft, { timeout: kind.busyTimeoutMs });
    try {
      // A draft that a crash leaves is created anew. A sync for each of its transactions took most of the first start of a server.
      expectPragma(database, 'synchronous', SYNCHRONOUS_OFF, 'OFF');
      fill(database);
      database.pragma(`application_id = ${kind.applicationId}`);
      database.pragma('main.journal_mode = WAL'); // here, where it costs no sync either; not of what is attached
    } finally {
      database.close();
    }
    syncFile(draft);
    renameSync(draft, file);
    syncDirectory(dirname(file));
  } catch (error) {
    removeDraft();
    throw error;
  }
}

/** Only for a file that no connection has open: its descriptor would end their locks. Throws what the file system throws. */
export function syncFile(file: string): void {
  const descriptor = openSync(file, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** A connection that only reads, for a file that another connection may write. Throws what SQLite throws. */
export function openDatabaseToRead(file: string, busyTimeoutMs = READ_TIMEOUT_MS): Database.Database {
  return new Database(file, { readonly: true, fileMustExist: true, timeout: busyTimeoutMs });
}

/** Throws Problem `database_damaged` for a file that was cut or is no database, and what SQLite throws. */
export function expectFileNotTruncated(file: string, kind: FileKind): void {
  // One that may write takes its log into the file when it closes, and leaves no -wal and -shm behind.
  const database = new Database(file, { fileMustExist: true, timeout: kind.busyTimeoutMs });
  try {
    expectNotTruncated(database, kind);
  } catch (error) {
    throw isDamage(error) ? damaged(file, kind, (error as Error).message, error) : error;
  } finally {
    database.close();
  }
}

/** Reads every page of a file that no other connection writes: `ok`, or the first damage found. */
export function integrityOf(file: string): string {
  try {
    const database = new Database(file, { fileMustExist: true });
    try {
      return String(database.pragma('quick_check(1)', { simple: true }));
    } finally {
      database.close();
    }
  } catch (error) {
    return (error as Error).message;
  }
}

/** A file that is shorter than it says was cut. Throws Problem `database_damaged`, or what SQLite throws. */
export function expectNotTruncated(database: Database.Database, kind: FileKind): void {
  const { name: file } = database;
  const number = (pragma: string) => database.pragma(pragma, { simple: true }) as number;
  database.exec('BEGIN'); // no other connection can truncate it while a transaction reads it
  try {
    const expected = number('page_count') * number('page_size');
    // Pages in the log are missing from the file until a checkpoint.
    if ((statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0) return;
    const found = statSync(file).size;
    if (expected === 0) throw damaged(file, kind, `expected ${kind.name}, found an empty file`);
    if (found < expected) throw damaged(file, kind, `expected ${expected} bytes, found ${found}`);
  } finally {
    if (database.inTransaction) database.exec('COMMIT');
  }
}

/** Reads every page. Throws Problem `database_damaged`, or what SQLite throws. */
export function expectIntegrity(database: Database.Database, kind: FileKind): void {
  const found = database.pragma('quick_check(1)', { simple: true });
  if (found !== 'ok') throw damaged(database.name, kind, String(found));
}

/** Sets a pragma and verifies it: SQLite ignores what it doesn't know or can't do. Throws when it was not set. */
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

/** Throws Problem `database_damaged` for a file of another kind, and `database_newer`. */
export function expectKind(database: Database.Database, kind: FileKind): void {
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
  try {
    chmodSync(path, 0o600);
  } catch (error) {
    // Another process that had the database open has closed it meanwhile, and SQLite removed the file.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** What a caller hears of a file that could not be opened. */
export function openingProblem(error: unknown, file: string, kind: FileKind): unknown {
  if (error instanceof Problem) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (isDamage(error)) return damaged(file, kind, reason, error);
  return new Problem('data_directory_unusable', { reason: `${file}: ${reason}`, cause: error });
}

function damaged(file: string, { remedy }: FileKind, reason: string, cause?: unknown): Problem {
  return new Problem('database_damaged', { reason: `${file}: ${reason}`, hint: remedy, cause });
}
