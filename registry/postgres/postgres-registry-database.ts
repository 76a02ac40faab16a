/**
 * The registry's database on PostgreSQL. Runs the steps of a transaction: sends each statement for which it pauses and resumes it with the
 * result. A transaction that writes is READ COMMITTED and takes the locks of `registry/transaction.ts`, so that transactions which have
 * nothing to do with each other run side by side. One that only reads sees one state of the database.
 *
 * A transaction that meets another one, loses its connection before its commit, or finds taken what must be unique runs again from its start.
 */

import { createHash } from 'node:crypto';
import { BatchedQuestions } from '../../storage/index.ts';
import { isUniqueViolation, type PostgresDatabase, type PostgresTransaction } from '../../storage/postgres/index.ts';
import type { RegistryDatabase } from '../database.ts';
import {
  type ChangeKind,
  DecidedMeanwhile,
  type LockKind,
  type SqlParameters,
  type SqlValue,
  type Statement,
  type StatementResult,
  type Steps,
  type Transaction,
} from '../transaction.ts';
import type { ChangeLog, PublishedChange } from './change-log.ts';
import { translate, translateForEach } from './dialect.ts';

/** The second run sees what the first one met. */
const RUNS_AT_MOST = 3;
/** Texts that each connection keeps prepared. There are more of them, by the criteria of a search. */
const PREPARED_AT_MOST = 400;
/** Statements of one text. */
const SENT_TOGETHER = 200;
/** As many as the migration has made. */
const SLOTS: Readonly<Record<LockKind, number>> = {
  names: 1,
  operators: 1,
  issuers: 1,
  holder: 256,
  group: 64,
  policy: 64,
};

interface WrittenChanges {
  readonly published: readonly PublishedChange[];
  readonly positions: readonly number[];
}

interface Prepared {
  readonly statement: string | { readonly name: string; readonly text: string };
  readonly parameters: readonly string[];
}

export class PostgresRegistryDatabase implements RegistryDatabase {
  readonly otherNodes: ChangeLog;
  readonly #database: PostgresDatabase;
  readonly #now: () => number;
  readonly #prepared = new Map<string, Prepared>();
  /** By the text of the statement. */
  readonly #rows = new Map<string, BatchedQuestions<readonly unknown[]>>();

  constructor(database: PostgresDatabase, changes: ChangeLog, now: () => number) {
    this.otherNodes = changes;
    this.#database = database;
    this.#now = now;
  }

  get now(): number {
    return this.#now();
  }

  read<Result>(body: (tx: Transaction) => Steps<Result>): Promise<Result> {
    return this.#database.transaction(
      (connection) => this.#run(connection, body(new PausingTransaction(this.#now()))),
      { isolation: 'repeatable read', isReading: true },
    );
  }

  async write<Result>(body: (tx: Transaction) => Steps<Result>): Promise<Result> {
    for (let run = 1; ; run += 1) {
      let changes: WrittenChanges = { published: [], positions: [] };
      try {
        const result = await this.#database.transaction(async (connection) => {
          this.otherNodes.abandon(changes.positions); // of a run that was rolled back
          const [value, written] = await this.#runToCommit(connection, body);
          changes = written;
          return value;
        });
        if (changes.published.length > 0) this.otherNodes.announce(changes.positions);
        return result;
      } catch (error) {
        this.otherNodes.abandon(changes.positions);
        const mayRunAgain = error instanceof DecidedMeanwhile || isUniqueViolation(error);
        if (run === RUNS_AT_MOST || !mayRunAgain) throw error;
      }
    }
  }

  async readRow<Row extends readonly unknown[], Result>(
    sql: string,
    parameter: string,
    read: (row: Row | undefined, now: () => number) => Result,
  ): Promise<Result> {
    const row = await this.#rowsOf(sql).ask(parameter);
    return read(row as Row | undefined, this.#now);
  }

  async close(): Promise<void> {
    this.otherNodes.close();
    await this.#database.close();
  }

  async #runToCommit<Result>(
    connection: PostgresTransaction,
    body: (tx: Transaction) => Steps<Result>,
  ): Promise<readonly [Result, WrittenChanges]> {
    const ending: Ending = { last: [], published: [] };
    const tx = new PausingTransaction(this.#now(), ending);
    const result = await this.#run(connection, body(tx));
    for (const steps of ending.last) await this.#run(connection, steps());
    const { published } = ending;
    if (published.length === 0) return [result, { published, positions: [] }];
    // Positions get the order of commits by it. Sent together.
    const locked = connection.query(LOCK_HEAD);
    const [positions] = await Promise.all([this.otherNodes.insert(connection, published), locked]);
    return [result, { published, positions }];
  }

  async #run<Result>(connection: PostgresTransaction, steps: Steps<Result>): Promise<Result> {
    const iterator = steps[Symbol.iterator]();
    let step = iterator.next();
    while (step.done !== true) step = iterator.next(await this.#send(connection, step.value));
    return step.value;
  }

  async #send(connection: PostgresTransaction, { sql, parameters }: Statement): Promise<StatementResult> {
    const prepared = this.#prepare(sql);
    const result = { rows: [] as readonly unknown[], changes: 0 };
    for (let from = 0; from < parameters.length; from += SENT_TOGETHER) {
      const some = parameters.slice(from, from + SENT_TOGETHER);
      const sent = some.map((one) => connection.query(prepared.statement, valuesOf(prepared, one)));
      for (const { rows, count } of await Promise.all(sent)) {
        result.rows = rows;
        result.changes += count;
      }
    }
    return result;
  }

  /** Looks up rows that are wanted at the same time with one statement. */
  #rowsOf(sql: string): BatchedQuestions<readonly unknown[]> {
    let rows = this.#rows.get(sql);
    if (rows === undefined) {
      const statement = { name: `registry for each ${this.#rows.size}`, text: translateForEach(sql) };
      rows = new BatchedQuestions<readonly unknown[]>(async (wanted) => {
        const [one = ''] = wanted;
        if (wanted.length === 1) {
          // Half of the CPU that the other statement takes for one.
          const { rows: alone } = await this.#database.query(this.#prepare(sql).statement, [one]);
          return new Map(alone.map((row) => [one, Object.values(row)]));
        }
        const found = await this.#database.query(statement, [wanted]);
        return new Map(
          found.rows.map((row) => {
            const [value, ...columns] = Object.values(row);
            return [value as string, columns];
          }),
        );
      });
      this.#rows.set(sql, rows);
    }
    return rows;
  }

  #prepare(sql: string): Prepared {
    let found = this.#prepared.get(sql);
    if (found === undefined) {
      const { text, parameters } = translate(sql);
      const number = this.#prepared.size;
      const statement = number < PREPARED_AT_MOST ? { name: `registry ${number}`, text } : text;
      found = { statement, parameters };
      this.#prepared.set(sql, found);
    }
    return found;
  }
}

/** What is done between the body of a transaction and its commit. */
interface Ending {
  readonly last: (() => Steps<unknown>)[];
  readonly published: PublishedChange[];
}

function valuesOf({ parameters: names }: Prepared, parameters: SqlParameters): readonly SqlValue[] {
  return names.map((name) => {
    const value = parameters[name];
    if (value === undefined) throw new Error(`expected a value of @${name}, found none`);
    // A text of PostgreSQL has no NUL.
    return typeof value === 'string' ? value.replaceAll('\0', '\ufffd') : value;
  });
}

/** A transaction that pauses for each statement. */
class PausingTransaction implements Transaction {
  readonly now: number;
  readonly #ending: Ending | undefined;

  /** `ending`: undefined for a transaction that only reads. */
  constructor(now: number, ending?: Ending) {
    this.now = now;
    this.#ending = ending;
  }

  *get<Row>(sql: string, parameters: SqlParameters): Steps<Row | undefined> {
    const { rows } = yield { sql, parameters: [parameters] };
    return rows[0] as Row | undefined;
  }

  *all<Row>(sql: string, parameters: SqlParameters): Steps<Row[]> {
    const { rows } = yield { sql, parameters: [parameters] };
    return [...rows] as Row[];
  }

  *run(sql: string, parameters: SqlParameters): Steps<number> {
    const { changes } = yield { sql, parameters: [parameters] };
    return changes;
  }

  *runEach(sql: string, parameters: readonly SqlParameters[]): Steps<number> {
    if (parameters.length === 0) return 0;
    const { changes } = yield { sql, parameters };
    return changes;
  }

  *lock(kind: LockKind, names: readonly string[] = [''], mode?: 'shared'): Steps<void> {
    if (this.#ending === undefined) return;
    const slots = new Set((names.length === 0 ? [''] : names).map((name) => slotOf(name, SLOTS[kind])));
    // In the order of their slots: two transactions that lock several never wait for each other.
    yield {
      sql: mode === 'shared' ? LOCK_SHARED : LOCK,
      parameters: [{ kind, slots: `{${[...slots].join(',')}}` }],
    };
  }

  publish(kind: ChangeKind, change: unknown): void {
    this.#expectEnding().published.push({ kind, change });
  }

  beforeCommit(steps: () => Steps<unknown>): void {
    this.#expectEnding().last.push(steps);
  }

  #expectEnding(): Ending {
    if (this.#ending === undefined) throw new Error('expected a transaction that writes, found one that reads');
    return this.#ending;
  }
}

/** The row that is locked while audit entries are appended. */
const LOCK_HEAD = { name: 'registry lock head', text: 'SELECT id FROM audit_head FOR UPDATE' };
const SELECT_SLOTS =
  'SELECT slot FROM registry_locks WHERE kind = @kind AND slot = ANY (CAST(@slots AS BIGINT[])) ORDER BY slot';
const LOCK = `${SELECT_SLOTS} FOR UPDATE`;
const LOCK_SHARED = `${SELECT_SLOTS} FOR SHARE`;

function slotOf(name: string, slots: number): number {
  return slots === 1 ? 0 : createHash('sha256').update(name).digest().readUInt32BE(0) % slots;
}
