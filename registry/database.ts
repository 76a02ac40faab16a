/** The database of a registry as its stores see it: each call is one transaction. `sqlite/` and `postgres/` implement it. */

import type { Steps, Transaction } from './transaction.ts';

/** SQLite returns the value itself, PostgreSQL a promise of it. */
export type Awaitable<Value> = Value | Promise<Value>;

/** The nodes that have the same registry, beside this one. */
export interface OtherNodes {
  /** What their listeners reported of these published changes, as far as they confirm in time. */
  reportsOf(changes: readonly object[]): Promise<readonly unknown[]>;
}

export interface RegistryDatabase {
  /** Undefined where one process has the registry for itself. */
  readonly otherNodes: OtherNodes | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Runs `body` on one state of the database. It must not write. */
  read<Result>(body: (tx: Transaction) => Steps<Result>): Awaitable<Result>;
  /**
   * Runs `body` and commits, or rolls everything back when it throws. When this has returned or resolved, the change is durable.
   */
  write<Result>(body: (tx: Transaction) => Steps<Result>): Awaitable<Result>;
  /**
   * The first row of a statement with one parameter, written `?`, as a list of its columns, translated by `read`: for the lookup of
   * every connection.
   */
  readRow<Row extends readonly unknown[], Result>(
    sql: string,
    parameter: string,
    read: (row: Row | undefined, now: () => number) => Result,
  ): Awaitable<Result>;
  close(): Awaitable<void>;
}
