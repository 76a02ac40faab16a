/**
 * Opens the registry's SQLite file and owns its transactions: every reader and writer of the module goes through
 * `read` and `write`, which return when they are done. Does not know what is stored.
 */

import { resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type Database from 'better-sqlite3';
import {
  expectPragma,
  type FileKind,
  inspectDatabaseFile,
  openDatabaseFile,
  openDatabaseToRead,
  storageProblem,
} from '../../storage/index.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { migrate, newestSchema } from './migrate.ts';
import { resultOf, SqliteTransaction, Statements } from './sqlite-transaction.ts';

const REGISTRY: Omit<FileKind, 'schema'> = {
  name: 'a registry',
  applicationId: 0x52437267, // "RCrg"
  busyTimeoutMs: 1000,
  remedy: 'restore the file from a backup',
};

/** Page cache, at most: enough for the indexes of about 100,000 devices. */
const CACHE_KIB = 65_536;

/** The same of a reader in another thread, which looks up certificates alone. */
const READER_CACHE_KIB = 8_192;

export interface DatabaseOptions {
  readonly file: string;
  readonly now: () => number;
  /** `inspectRegistry()` has read every page of it. */
  readonly isInspected?: boolean;
}

export class SqliteDatabase implements RegistryDatabase {
  readonly otherNodes = undefined;
  readonly #database: Database.Database;
  readonly #statements: Statements;
  readonly #now: () => number;
  readonly #writing: Database.Transaction<(body: (tx: Transaction) => Steps<unknown>) => unknown>;
  /** Not asked of better-sqlite3 each time: its answer costs a call into native code. */
  #isOpen = true;

  constructor(database: Database.Database, now: () => number) {
    this.#database = database;
    this.#statements = new Statements(database);
    this.#now = now;
    this.#writing = database.transaction((body) => {
      const last: (() => Steps<unknown>)[] = [];
      const result = resultOf(body(new SqliteTransaction(this.#statements, this.#now(), last)));
      for (const steps of last) resultOf(steps());
      return result;
    });
  }

  get now(): number {
    return this.#now();
  }

  /** Runs `body` without a transaction of its own: it is synchronous, and no other process writes to this file. */
  read<Result>(body: (tx: Transaction) => Steps<Result>): Result {
    this.#mustBeOpen();
    try {
      return resultOf(body(new SqliteTransaction(this.#statements, this.#now(), undefined)));
    } catch (error) {
      throw storageProblem(error);
    }
  }

  /**
   * Runs `body` and commits, or rolls everything back when it throws. When this returns, the change is on disk.
   * The write lock is taken first, so that what `body` reads cannot change before it writes.
   */
  write<Result>(body: (tx: Transaction) => Steps<Result>): Result {
    this.#mustBeOpen();
    try {
      return this.#writing.immediate(body) as Result;
    } catch (error) {
      throw storageProblem(error);
    }
  }

  readRow<Row extends readonly unknown[], Result>(
    sql: string,
    parameter: string,
    read: (row: Row | undefined, now: () => number) => Result,
  ): Result {
    this.#mustBeOpen();
    try {
      return read(this.#statements.prepareRow(sql).get(parameter) as Row | undefined, this.#now);
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

/** Throws what `openRegistry()` would throw for this file, and changes nothing. */
export function inspectRegistry(file: string): void {
  inspectDatabaseFile({ file: resolve(file), kind: { ...REGISTRY, schema: newestSchema() }, check: 'every page' });
}

/**
 * Opens the file, or creates it. Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`.
 * An existing file is never treated as new: an empty registry file is damaged.
 */
export function openDatabase({ file, now, isInspected = false }: DatabaseOptions): SqliteDatabase {
  return new SqliteDatabase(openRegistryFile(file, isInspected ? 'header' : 'every page'), now);
}

/** Another connection to a file that `openDatabase()` has opened, which only reads. Throws Problem `data_directory_unusable`. */
export function openRegistryToRead(file: string, now: () => number): SqliteDatabase {
  try {
    const database = openDatabaseToRead(resolve(file));
    database.pragma(`cache_size = -${READER_CACHE_KIB}`);
    return new SqliteDatabase(database, now);
  } catch (error) {
    throw storageProblem(error);
  }
}

/** The file itself, for a copy to another engine: as `openDatabase()`. The caller closes it. */
export function openRegistryFile(file: string, check: 'header' | 'every page' = 'every page'): Database.Database {
  return openDatabaseFile({
    file: resolve(file),
    kind: { ...REGISTRY, schema: newestSchema() },
    check,
    create: migrate,
    prepare: (opened) => {
      expectPragma(opened, 'foreign_keys', 1, 'ON');
      expectPragma(opened, 'cache_size', -CACHE_KIB, `-${CACHE_KIB}`);
      migrate(opened);
    },
  });
}
