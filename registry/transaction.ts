/**
 * One text of the registry's logic for two engines. A function that takes a Transaction is a generator: it has each statement and
 * each other such function done by `yield*`, as in `const row = yield* tx.get<Row>(sql, parameters)`, and never waits by itself.
 * On SQLite a statement runs at once and the generator never pauses, so that a whole transaction is one synchronous call. On
 * PostgreSQL the generator pauses with the statement, and the engine resumes it with the result. Without `yield*` nothing would be
 * done: `transaction.test.ts` finds such a call.
 *
 * The engine begins and commits. A body may run again from its start, so it has no effect outside of the transaction.
 */

export type SqlValue = string | number | Uint8Array | null;
export type SqlParameters = Readonly<Record<string, SqlValue>>;

/** What a transaction pauses for. Its parameters are written `@name` in the text. */
export interface Statement {
  readonly sql: string;
  /** Of each time that it is done. */
  readonly parameters: readonly SqlParameters[];
}

export interface StatementResult {
  /** Of the last time. */
  readonly rows: readonly unknown[];
  /** How many rows all of them changed. */
  readonly changes: number;
}

/** The steps of a part of a transaction, which end with its result. */
export type Steps<Result> = Iterable<Statement, Result, StatementResult>;

/**
 * What a transaction can hold alone until its end, so that what it read afterwards stays true until it commits. A transaction locks in
 * this order, and one kind at once, so that no two wait for each other. What one conditional statement decides needs no lock, and
 * neither does a row that must be unique: a transaction that finds it taken runs again and sees it.
 */
export const LOCKS = ['names', 'operators', 'issuers', 'holder', 'group', 'policy'] as const;
export type LockKind = (typeof LOCKS)[number];

/**
 * Thrown by a body that finds at its end what was not so when it decided: it is rolled back, and runs again. On SQLite nothing can change
 * meanwhile.
 */
export class DecidedMeanwhile extends Error {}

/** Committed changes that listeners hear of (`registry/listeners.ts`). */
export const CHANGE_KINDS = [
  'revocation',
  'revocation of a certificate',
  'device change',
  'policy change',
  'operator access',
] as const;
export type ChangeKind = (typeof CHANGE_KINDS)[number];

export interface Transaction {
  /** Milliseconds since the epoch; the same for everything that happens in this transaction. */
  readonly now: number;
  /** The first row, or undefined. The caller declares the row's type: columns have the types of the schema. */
  get<Row>(sql: string, parameters: SqlParameters): Steps<Row | undefined>;
  all<Row>(sql: string, parameters: SqlParameters): Steps<Row[]>;
  /** How many rows changed. */
  run(sql: string, parameters: SqlParameters): Steps<number>;
  /** As `run` for each of these in their order, in one round trip. How many rows changed. */
  runEach(sql: string, parameters: readonly SqlParameters[]): Steps<number>;
  /**
   * Waits until no other transaction holds one of these. `names`: `device/press-7`, and nothing for a kind that is locked as a whole.
   * `shared`: others may hold it in the same way. Does nothing on SQLite, which has one writer, and where the transaction only reads.
   */
  lock(kind: LockKind, names?: readonly string[], mode?: 'shared'): Steps<void>;
  /** Has the listeners of other nodes told of this change after the commit: JSON. On SQLite there are no other nodes. */
  publish(kind: ChangeKind, change: unknown): void;
  /** Has this done after the body, in the same transaction. Throws in a transaction that only reads. */
  beforeCommit(steps: () => Steps<unknown>): void;
}
