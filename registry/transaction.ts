/**
 * Runs SQL: the statements of one database, prepared once each, and one time for the whole transaction.
 * `database.ts` begins and commits it, never the code that receives a Transaction.
 */

import type Database from 'better-sqlite3';

export type SqlValue = string | number | Uint8Array | null;
export type SqlParameters = Readonly<Record<string, SqlValue>>;

/** Prepared statements by their text; the texts are constants of this module, so the cache is bounded by its source. */
export class Statements {
  readonly #database: Database.Database;
  readonly #prepared = new Map<string, Database.Statement<[SqlParameters]>>();
  readonly #rows = new Map<string, Database.Statement<[string]>>();

  constructor(database: Database.Database) {
    this.#database = database;
  }

  prepare(sql: string): Database.Statement<[SqlParameters]> {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare<[SqlParameters]>(sql);
      this.#prepared.set(sql, statement);
    }
    return statement;
  }

  /** With one unnamed parameter; rows come as lists. */
  prepareRow(sql: string): Database.Statement<[string]> {
    let statement = this.#rows.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare<[string]>(sql).raw();
      this.#rows.set(sql, statement);
    }
    return statement;
  }
}

export class Transaction {
  /** Milliseconds since the epoch; the same for everything that happens in this transaction. */
  readonly now: number;
  readonly #statements: Statements;

  constructor(statements: Statements, now: number) {
    this.#statements = statements;
    this.now = now;
  }

  /** The first row, or undefined. The caller declares the row's type: the schema is STRICT. */
  get<Row>(sql: string, parameters: SqlParameters): Row | undefined {
    return this.#statements.prepare(sql).get(parameters) as Row | undefined;
  }

  all<Row>(sql: string, parameters: SqlParameters): Row[] {
    return this.#statements.prepare(sql).all(parameters) as Row[];
  }

  /** How many rows changed. */
  run(sql: string, parameters: SqlParameters): number {
    return this.#statements.prepare(sql).run(parameters).changes;
  }
}
