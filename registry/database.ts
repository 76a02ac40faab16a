/** The database of a registry as its stores see it: each call is one transaction. `sqlite/` and `postgres/` implement it. */

import type { NodeOutcome } from './node-outcome.ts';
import type { ChangeKind, Steps, Transaction } from './transaction.ts';

/** SQLite returns the value itself, PostgreSQL a promise of it. */
export type Awaitable<Value> = Value | Promise<Value>;

/** What the nodes beside this one did about published changes. */
export interface ChangeOutcome {
  /** Of their listeners, as far as they confirmed in time. */
  readonly reports: readonly unknown[];
  /** Each node that may have had sessions, once. */
  readonly nodes: readonly NodeOutcome[];
}

/** A change that is still known, which is for an hour. */
export interface KnownChange {
  readonly kind: ChangeKind;
  readonly change: unknown;
  /** Milliseconds since the epoch, by the database's clock. */
  readonly at: number;
  /** All nodes, as they are now. */
  readonly nodes: readonly NodeOutcome[];
}

/** The nodes that have the same registry, beside this one. */
export interface OtherNodes {
  /** Waits a limited time for nodes that are alive. */
  outcomeOf(changes: readonly object[]): Promise<ChangeOutcome>;
  /** The listeners of this node have heard of these published changes. Returns what this node did about them, or nothing. */
  confirm(changes: readonly object[]): readonly NodeOutcome[];
  /** The last change of a device, or of the holder of a certificate, such as `device/press-7`. */
  lastChangeOf(subject: string): Promise<KnownChange | undefined>;
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
