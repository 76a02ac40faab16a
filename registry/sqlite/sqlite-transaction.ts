/** A transaction on SQLite: each statement is done when it is asked for, so that no generator ever pauses. */

import type Database from 'better-sqlite3';
import type { SqlParameters, Statement, Steps, Transaction } from '../transaction.ts';

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

/** Steps that are done already: it is its own iterator and its own last step. */
class Done<Result> implements Iterator<Statement, Result>, IteratorReturnResult<Result> {
  readonly done = true;
  readonly value: Result;

  constructor(value: Result) {
    this.value = value;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): this {
    return this;
  }
}

const NOTHING = new Done<void>(undefined);

export class SqliteTransaction implements Transaction {
  readonly now: number;
  readonly #statements: Statements;
  readonly #last: (() => Steps<unknown>)[] | undefined;

  /** `last`: what is to be done before the commit is added to it; undefined for a transaction that only reads. */
  constructor(statements: Statements, now: number, last: (() => Steps<unknown>)[] | undefined) {
    this.#statements = statements;
    this.now = now;
    this.#last = last;
  }

  get<Row>(sql: string, parameters: SqlParameters): Steps<Row | undefined> {
    return new Done(this.#statements.prepare(sql).get(parameters) as Row | undefined);
  }

  all<Row>(sql: string, parameters: SqlParameters): Steps<Row[]> {
    return new Done(this.#statements.prepare(sql).all(parameters) as Row[]);
  }

  run(sql: string, parameters: SqlParameters): Steps<number> {
    return new Done(this.#statements.prepare(sql).run(parameters).changes);
  }

  runEach(sql: string, parameters: readonly SqlParameters[]): Steps<number> {
    const statement = this.#statements.prepare(sql);
    let changes = 0;
    for (const one of parameters) changes += statement.run(one).changes;
    return new Done(changes);
  }

  lock(): Steps<void> {
    return NOTHING;
  }

  publish(): void {}

  beforeCommit(steps: () => Steps<unknown>): void {
    if (this.#last === undefined) throw new Error('expected a transaction that writes, found one that reads');
    this.#last.push(steps);
  }
}

/** The result of steps of a {@link SqliteTransaction}. */
export function resultOf<Result>(steps: Steps<Result>): Result {
  const step = steps[Symbol.iterator]().next();
  if (step.done === true) return step.value;
  throw new Error('expected steps that do not pause');
}
