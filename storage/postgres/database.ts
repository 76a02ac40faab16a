/**
 * The database as its users see it: reads, single writes and transactions over a pool of connections to the primary. A write is stored
 * when its promise resolves: the server has confirmed the commit, and as many standbys as it demands have it.
 *
 * A transaction that conflicts, or whose connection is lost before its COMMIT was sent, is repeated from its beginning.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import { type CommitMark, type MarkRow, missingIn } from './confirmed-commits.ts';
import {
  type Committed,
  type PostgresConnection,
  type Result,
  type Row,
  type Statement,
  timeoutsOf,
} from './connection.ts';
import { ConnectionPool, type PoolUsage, type Use } from './pool.ts';
import {
  isConflict,
  isConnectionLost,
  isConnectionStale,
  postgresProblem,
  UnconfirmedCommit,
} from './postgres-problem.ts';
import { KnownPrimary, NoPrimary, PrimaryFinder } from './primary.ts';
import { checkPostgresSettings, DEFAULT_SCHEMA, type PostgresSettings, type PostgresTimeouts } from './settings.ts';

export interface PostgresTransaction {
  /** Throws the Problem of an error; the transaction can do nothing more after that. Calls that do not wait are sent together. */
  query<R = Row>(statement: Statement, values?: readonly unknown[]): Promise<Result<R>>;
}

export interface TransactionOptions {
  /** `read committed` without it. */
  readonly isolation?: 'read committed' | 'repeatable read' | 'serializable' | undefined;
  /** No limits on the time of a statement and on the wait for a lock, and a minute between two statements: for migrations. */
  readonly isUnlimited?: boolean | undefined;
  /** It writes nothing: it has one of the connections that are left to reads, also while all writes wait for lost standbys. */
  readonly isReading?: boolean | undefined;
  /** The commit waits neither for the disk nor for standbys: others see it at once, and a crash of the server may undo it. */
  readonly mayBeLost?: boolean | undefined;
}

const NO_LIMITS =
  "; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '60s'";
const NO_WAIT = '; SET LOCAL synchronous_commit = off';

const FIRST_PAUSE_MS = 5;
const PAUSE_AT_MOST_MS = 500;

export class PostgresDatabase {
  /** The schema of all tables. */
  readonly schema: string;
  readonly #settings: PostgresSettings;
  readonly #known: KnownPrimary;
  readonly #primary: PrimaryFinder;
  readonly #pool: ConnectionPool;
  readonly #timeouts: PostgresTimeouts;
  /** Connections whose caller was told that its commit is not confirmed, while the server still waits. */
  readonly #unanswered = new Map<PostgresConnection, Promise<unknown>>();

  /** Opens no connection yet. Throws Problem `config_invalid`. `known` is for databases that `apart` makes. */
  constructor(settings: PostgresSettings, known = new KnownPrimary(settings)) {
    checkPostgresSettings(settings);
    this.schema = settings.schema ?? DEFAULT_SCHEMA;
    this.#timeouts = timeoutsOf(settings);
    this.#settings = settings;
    this.#known = known;
    this.#primary = new PrimaryFinder(settings, known);
    this.#pool = new ConnectionPool({
      open: () => this.#primary.connect(),
      size: settings.connections ?? 10,
      // So that a failure to connect is told rather than the wait for it.
      wait: this.#timeouts.retry + this.#timeouts.connect,
    });
  }

  /** A statement that only reads, repeated when its connection is lost. */
  query<R = Row>(statement: Statement, values?: readonly unknown[]): Promise<Result<R>> {
    return this.#repeated('read', (connection) => connection.query<R>(statement, values));
  }

  /**
   * One statement that writes, as a transaction of its own in one round trip. Throws `UnconfirmedCommit` when its connection was lost
   * after it was sent, and when its standbys were lost.
   */
  execute<R = Row>(statement: Statement, values?: readonly unknown[]): Promise<Result<R>> {
    return this.#repeated('write', (connection) =>
      this.#confirmed(connection, {
        send: () => connection.write<R>(statement, values),
        markOf: ({ rows }) => connection.markOf(rows[0] as Partial<MarkRow> | undefined),
      }),
    );
  }

  /**
   * Runs `work` in a transaction and commits it. `work` may run several times, so it changes nothing but the database; what it throws
   * rolls back and is thrown. Throws `UnconfirmedCommit` when the outcome of COMMIT is not known or its standbys were lost.
   */
  transaction<T>(work: (transaction: PostgresTransaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const use = options.isReading === true ? 'read' : 'write';
    return this.#repeated(use, (connection) => this.#attempt(connection, work, options));
  }

  /**
   * Connects and checks the server's settings, as each new connection does, also after they have changed. Throws Problem
   * `database_settings_refused`, `database_server_unsupported`, and what connecting throws.
   */
  async check(): Promise<void> {
    await this.#repeated('read', (connection) => connection.expectSettings());
  }

  /** Of each new connection, also of databases that `apart` makes, before anything else uses it; what it throws is thrown to those who wait for one. */
  checkConnections(check: ((connection: PostgresConnection) => Promise<void>) | undefined): void {
    this.#known.check = check;
  }

  /** Marks of what was confirmed last to this process. */
  get confirmedCommits(): readonly CommitMark[] {
    return this.#known.commits.marks;
  }

  /** What a new connection does not find of what was confirmed to this process, as a sentence. Throws what `pg` throws. */
  missingIn(connection: PostgresConnection): Promise<string | undefined> {
    return this.#known.commits.missingIn(connection);
  }

  /** What the primary lacks of what was marked, as a sentence; undefined when nothing is known to be missing. */
  missingOf(marks: readonly CommitMark[]): Promise<string | undefined> {
    return this.#repeated('read', (connection) => missingIn(connection, marks));
  }

  /** Of the connections of this pool. */
  get usage(): PoolUsage {
    return this.#pool.usage;
  }

  /** The same database over connections of their own, with other settings; what one learns of a failover, the other knows. */
  apart(changes: Partial<PostgresSettings>): PostgresDatabase {
    return new PostgresDatabase({ ...this.#settings, ...changes }, this.#known);
  }

  /** A connection outside of the pool; the caller closes it. Throws what connecting throws. */
  connect(): Promise<PostgresConnection> {
    return this.#primary.connect();
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #attempt<T>(
    connection: PostgresConnection,
    work: (transaction: PostgresTransaction) => Promise<T>,
    { isolation = 'read committed', isUnlimited = false, isReading = false, mayBeLost = false }: TransactionOptions,
  ): Promise<T> {
    let failure: unknown;
    const unfinished: Promise<unknown>[] = [];
    const send = <R>(statement: Statement, values?: readonly unknown[]): Promise<Result<R>> => {
      const sent = isUnlimited ? connection.write<R>(statement, values) : connection.query<R>(statement, values);
      const answer = sent.catch((error: unknown) => {
        failure ??= error;
        throw postgresProblem(error);
      });
      answer.catch(() => {});
      unfinished.push(answer);
      return answer;
    };
    // Not awaited: it is sent with the first statement.
    const settings = `${isUnlimited ? NO_LIMITS : ''}${mayBeLost ? NO_WAIT : ''}`;
    void send(`BEGIN ISOLATION LEVEL ${isolation.toUpperCase()}${settings}`);
    let result: T;
    try {
      result = await work({ query: send });
      await Promise.all(unfinished);
    } catch (error) {
      await Promise.allSettled(unfinished);
      await rollBack(connection, failure);
      throw failure !== undefined && mayRepeat(failure) ? failure : new ThrownByWork(error);
    }
    const { command } = await this.#confirmed<Committed>(connection, {
      // What may be lost says nothing when it is.
      send: () => connection.commit(!isReading && !mayBeLost),
      markOf: ({ mark }) => mark,
    }).catch(async (error: unknown) => {
      // It may have failed before COMMIT was done.
      if (!(error instanceof UnconfirmedCommit)) await rollBack(connection, error);
      throw error;
    });
    if (command === 'COMMIT') return result;
    throw new Problem('internal', { reason: `expected COMMIT, found ${command}` });
  }

  /**
   * Waits until the server confirms what was sent. Conflicts and refusals come as they are, for they left nothing behind. While the
   * quorum is lost the connection stays in use after the caller was told, until the server answers: a new one would wait as well.
   */
  async #confirmed<T>(connection: PostgresConnection, { send, markOf }: Commit<T>): Promise<T> {
    if (connection.isLost) throw new Error('the connection was lost before the commit was sent');
    connection.takeCommitWarning();
    const { commit } = this.#timeouts;
    const sentAt = performance.now();
    const sent = send();
    let answer: T;
    try {
      answer = await settledWithin(commit, sent);
    } catch (error) {
      if (error instanceof NoAnswer) {
        this.#unanswered.set(connection, sent);
        void this.#watchUnanswered(connection);
        throw new UnconfirmedCommit('connection lost', `expected the commit to be confirmed within ${commit} ms`);
      }
      if (!isConnectionLost(error) || isConnectionStale(error)) throw error;
      connection.destroy();
      throw new UnconfirmedCommit('connection lost', (error as Error).message, error);
    }
    const warning = connection.takeCommitWarning();
    if (warning === undefined) {
      const mark = markOf(answer);
      if (mark !== undefined) this.#known.commits.add(mark, sentAt, performance.now());
      return answer;
    }
    throw new UnconfirmedCommit('quorum lost', `expected standbys to confirm the commit, found ${warning}`);
  }

  /** A server that is gone never answers: its connections end once another host is found to be the primary. */
  async #watchUnanswered(connection: PostgresConnection): Promise<void> {
    while (this.#unanswered.has(connection)) {
      const other = await this.#primary.connect().catch(() => undefined);
      await other?.close();
      await delay(this.#timeouts.commit, undefined, { ref: false });
    }
  }

  async #repeated<T>(use: Use, attempt: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    const until = performance.now() + this.#timeouts.retry;
    for (let tries = 0; ; tries += 1) {
      try {
        const connection = await this.#pool.acquire(use);
        try {
          return await attempt(connection);
        } catch (error) {
          if (!(error instanceof ThrownByWork) && isConnectionLost(error)) connection.destroy();
          throw error;
        } finally {
          this.#release(connection);
        }
      } catch (error) {
        if (error instanceof ThrownByWork) throw error.cause;
        if (!mayRepeat(error) || performance.now() >= until) throw postgresProblem(error);
      }
      // Between half and all of it, so that transactions that met do not meet again.
      const pause = Math.min(FIRST_PAUSE_MS * 2 ** tries, PAUSE_AT_MOST_MS);
      await delay(pause * (0.5 + Math.random() / 2));
    }
  }

  #release(connection: PostgresConnection): void {
    const unanswered = this.#unanswered.get(connection);
    if (unanswered === undefined) {
      this.#pool.release(connection);
      return;
    }
    void unanswered
      .catch(() => {})
      .finally(() => {
        this.#unanswered.delete(connection);
        this.#pool.release(connection);
      });
  }
}

/** What is sent to commit, and the mark in its answer. */
interface Commit<T> {
  readonly send: () => Promise<T>;
  readonly markOf: (answer: T) => CommitMark | undefined;
}

/** Its cause is what the caller's work threw: the caller's matter, whatever kind of error it is. */
class ThrownByWork extends Error {
  constructor(cause: unknown) {
    super('thrown by the work of a transaction', { cause });
  }
}

/** Before a commit was sent. */
function mayRepeat(error: unknown): boolean {
  return isConflict(error) || isConnectionLost(error) || error instanceof NoPrimary;
}

async function rollBack(connection: PostgresConnection, failure: unknown): Promise<void> {
  if (failure !== undefined && isConnectionLost(failure)) return connection.destroy();
  await connection.query('ROLLBACK').catch(() => connection.destroy());
}

class NoAnswer extends Error {}

async function settledWithin<T>(time: number, sent: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new NoAnswer()), time);
  try {
    return await Promise.race([sent, late]);
  } finally {
    clearTimeout(timer);
  }
}
