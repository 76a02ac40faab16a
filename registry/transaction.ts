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
  readonly parameters: SqlParameters;
}

export interface StatementResult {
  readonly rows: readonly unknown[];
  /** How many rows a change changed. */
  readonly changes: number;
}

/** The steps of a part of a transaction, which end with its result. */
export type Steps<Result> = Iterable<Statement, Result, StatementResult>;

export interface Transaction {
  /** Milliseconds since the epoch; the same for everything that happens in this transaction. */
  readonly now: number;
  /** The first row, or undefined. The caller declares the row's type: columns have the types of the schema. */
  get<Row>(sql: string, parameters: SqlParameters): Steps<Row | undefined>;
  all<Row>(sql: string, parameters: SqlParameters): Steps<Row[]>;
  /** How many rows changed. */
  run(sql: string, parameters: SqlParameters): Steps<number>;
  /** Has this done after the body, in the same transaction. Throws in a transaction that only reads. */
  beforeCommit(steps: () => Steps<unknown>): void;
}
