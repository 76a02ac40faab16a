/**
 * Opens the registry's SQLite file and owns its transactions: every reader and writer of the room goes through
 * `read` and `write`. Knows files, pragmas and migrations; does not know what is stored.
 */

import { chmodSync, closeSync, existsSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import Database from 'better-sqlite3';
import { Problem } from '../contract/problem.ts';
import { migrate } from './migrate.ts';
import { Statements, Transaction } from './transaction.ts';

/** How long a writer waits for another process (a backup, a shell) that holds the file. It blocks this process, too. */
const BUSY_TIMEOUT_MS = 1000;

const SYNCHRONOUS_FULL = 2;

/** Pages kept in memory, at most; it grows with the fleet, and holds the indexes of some 100,000 devices. */
const CACHE_KIB = 65_536;

/** Tells a registry from any other SQLite file: "RCrg". */
const APPLICATION_ID = 0x52437267;

export interface DatabaseOptions {
  readonly file: string;
  readonly now: () => number;
}

export class RegistryDatabase {
  readonly #database: Database.Database;
  readonly #statements: Statements;
  readonly #now: () => number;
  readonly #writing: Database.Transaction<(body: (tx: Transaction) => unknown) => unknown>;
  /** Not asked of better-sqlite3 each time: its answer costs a call into native code. */
  #isOpen = true;

  constructor(database: Database.Database, now: () => number) {
    this.#database = database;
    this.#statements = new Statements(database);
    this.#now = now;
    this.#writing = database.transaction((body) => body(new Transaction(this.#statements, this.#now())));
  }

  get now(): number {
    return this.#now();
  }

  /** Runs `body` without a transaction of its own: it is synchronous, and nobody else writes to this file. */
  read<T>(body: (tx: Transaction) => T): T {
    this.#mustBeOpen();
    try {
      return body(new Transaction(this.#statements, this.#now()));
    } catch (error) {
      throw storageProblem(error);
    }
  }

  /**
   * Runs `body` and commits, or rolls everything back when it throws. When this returns, the change is on disk.
   * The write lock is taken first, so that what `body` reads cannot change before it writes.
   */
  write<T>(body: (tx: Transaction) => T): T {
    this.#mustBeOpen();
    try {
      return this.#writing.immediate(body) as T;
    } catch (error) {
      throw storageProblem(error);
    }
  }

  /** The first row of a statement with one parameter, as a list of its columns: for what every connection asks. */
  readRow<Row extends readonly unknown[]>(sql: string, parameter: string): Row | undefined {
    this.#mustBeOpen();
    try {
      return this.#statements.prepareRow(sql).get(parameter) as Row | undefined;
    } catch (error) {
      throw storageProblem(error);
    }
  }

  close(): void {
    this.#isOpen = false;
    this.#database.close();
  }

  #mustBeOpen(): void {
    if (!this.#isOpen) throw new Problem('unavailable', { reason: 'the registry is closed' });
  }
}

/**
 * Opens the file, or creates it. Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`.
 * A file that exists is never taken for a new one: an emptied registry is damage, not a fresh start.
 */
export function openDatabase(options: DatabaseOptions): RegistryDatabase {
  const file = resolve(options.file);
  try {
    if (!existsSync(file)) createDatabase(file);
    for (const path of [file, `${file}-wal`, `${file}-shm`]) keepPrivate(path);
    const database = new Database(file, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    try {
      expectRegistry(database);
      prepareConnection(database);
      migrate(database);
      return new RegistryDatabase(database, options.now);
    } catch (error) {
      database.close();
      throw error;
    }
  } catch (error) {
    throw openingProblem(error, file);
  }
}

function keepPrivate(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw new Error('expected a file, found something else');
  chmodSync(path, 0o600);
}

/** Built beside its place and renamed into it, so that a crash half-way leaves no file that looks like a registry. */
function createDatabase(file: string): void {
  const draft = `${file}.new`;
  for (const path of [draft, `${draft}-journal`]) rmSync(path, { force: true });
  closeSync(openSync(draft, 'wx', 0o600)); // SQLite gives its -wal and -shm files the mode of the main file
  const database = new Database(draft, { timeout: BUSY_TIMEOUT_MS });
  try {
    expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
    database.pragma(`application_id = ${APPLICATION_ID}`);
    migrate(database);
  } finally {
    database.close();
  }
  renameSync(draft, file);
}

function expectRegistry(database: Database.Database): void {
  const damage = database.pragma('quick_check(1)', { simple: true });
  if (damage !== 'ok') throw new Problem('database_damaged', { reason: `expected a sound file, found ${damage}` });
  if (database.pragma('application_id', { simple: true }) !== APPLICATION_ID) {
    throw new Problem('database_damaged', { reason: 'expected a registry, found an empty or foreign database' });
  }
}

function prepareConnection(database: Database.Database): void {
  expectPragma(database, 'journal_mode', 'wal', 'WAL');
  // better-sqlite3 is compiled so that a WAL file that is opened again falls to NORMAL, which can lose commits
  // when the power fails (SQLite, "PRAGMA synchronous"): ask every time, and look every time.
  expectPragma(database, 'synchronous', SYNCHRONOUS_FULL, 'FULL');
  expectPragma(database, 'foreign_keys', 1, 'ON');
  expectPragma(database, 'cache_size', -CACHE_KIB, `-${CACHE_KIB}`);
}

function expectPragma(database: Database.Database, name: string, expected: string | number, setting: string): void {
  database.pragma(`${name} = ${setting}`);
  const found = database.pragma(name, { simple: true });
  if (found !== expected) throw new Error(`expected pragma ${name} to be ${expected}, found ${found}`);
}

const UNREADABLE = new Set(['SQLITE_NOTADB', 'SQLITE_CORRUPT']);

function openingProblem(error: unknown, file: string): unknown {
  if (error instanceof Problem) return error;
  const reason = `${file}: ${error instanceof Error ? error.message : String(error)}`;
  if (error instanceof Database.SqliteError && UNREADABLE.has(error.code.split('_').slice(0, 2).join('_'))) {
    return new Problem('database_damaged', { reason, hint: 'restore the file from a backup', cause: error });
  }
  return new Problem('data_directory_unusable', { reason, cause: error });
}

/** Storage that is full, busy or failing is a state that can pass; every other surprise is a defect of ours. */
function storageProblem(error: unknown): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  const passing = /^SQLITE_(FULL|BUSY|IOERR|READONLY|CANTOPEN|NOMEM)/.test(error.code);
  return new Problem(passing ? 'unavailable' : 'internal', { reason: `${error.code}: ${error.message}`, cause: error });
}
