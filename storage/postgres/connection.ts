/**
 * One connection to one server, for one statement or transaction at a time. Sets what each session needs, refuses a server that only
 * reads or that commits without waiting for the disk, and notes the warning with which a commit ends that waited for lost standbys.
 */

import { Socket } from 'node:net';
import pg from 'pg';
import { COLUMN_TYPES } from './column-types.ts';
import { type CommitMark, MARK_COLUMNS, type MarkRow, SERVER_LOG, type ServerLog } from './confirmed-commits.ts';
import { isConnectionLost } from './postgres-problem.ts';
import { expectServerSettings, SERVER_SETTINGS, type ServerSettings } from './server-settings.ts';
import {
  DEFAULT_SCHEMA,
  DEFAULT_TIMEOUTS,
  isUnixSocket,
  type PostgresHost,
  type PostgresSettings,
  type PostgresTimeouts,
} from './settings.ts';

/** Prepared once per connection under its name, which belongs to this text alone. */
export interface PreparedStatement {
  readonly name: string;
  readonly text: string;
  /** The same with `MARK_COLUMNS` in its result, for a server that numbers its log. */
  readonly marked?: string | undefined;
}

export type Statement = string | PreparedStatement;

export interface Result<Row> {
  readonly rows: readonly Row[];
  /** Rows that a statement has returned or changed; 0 for a text of several statements. */
  readonly count: number;
}

export type Row = Readonly<Record<string, unknown>>;

/** The answer to a commit. */
export interface Committed {
  /** `COMMIT`, or `ROLLBACK` for a transaction that had failed. */
  readonly command: string;
  /** Undefined for one that has written nothing. */
  readonly mark: CommitMark | undefined;
}

/** The server answers only reads: a standby, or one that was told to. */
export class ReadOnlyServer extends Error {}

const KEEP_ALIVE_AFTER_MS = 5_000;
/**
 * The server ends the session of a client that cannot be reached any more about as soon: by itself it would keep it, its place among
 * `max_connections` and its snapshot for hours. Without effect on a unix socket.
 */
const UNREACHABLE_CLIENT = [
  'tcp_keepalives_idle=5',
  'tcp_keepalives_interval=2',
  'tcp_keepalives_count=3',
  'tcp_user_timeout=10000',
];
/** At most; no longer than the statement itself. */
const ANSWER_GRACE_MS = 5_000;
const CLOSE_WITHIN_MS = 1_000;

export function timeoutsOf({ timeouts }: PostgresSettings): PostgresTimeouts {
  return { ...DEFAULT_TIMEOUTS, ...timeouts };
}

export class PostgresConnection {
  readonly address: PostgresHost;
  readonly #client: pg.Client;
  readonly #socket = new Socket();
  /** How long to wait for the answer to a statement that the server ends earlier by itself, ms: for a server that is gone. */
  readonly #answerTimeout: number;
  readonly #standbys: number;
  #isLost = false;
  #unanswered = 0;
  #lastAnswer = 0;
  #process: number | undefined;
  #log: ServerLog | undefined;
  #commitWarning: string | undefined;
  readonly #onLost: ((error: Error) => void)[] = [];
  #onNotification: ((payload: string, isOwn: boolean) => void) | undefined;

  /** Throws what `expectSettings` throws, and what `pg` and sockets throw. */
  static async open(address: PostgresHost, settings: PostgresSettings): Promise<PostgresConnection> {
    const connection = new PostgresConnection(address, settings);
    try {
      await connection.#client.connect();
      await connection.#prepareSession();
      return connection;
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  private constructor(address: PostgresHost, settings: PostgresSettings) {
    const { connect, statement, lock, idle } = timeoutsOf(settings);
    const { host, port } = address;
    const tls = isUnixSocket(host) ? undefined : settings.tls?.();
    this.address = address;
    this.#standbys = settings.standbys ?? 0;
    this.#answerTimeout = statement + Math.min(ANSWER_GRACE_MS, statement);
    this.#client = new pg.Client({
      host,
      port,
      database: settings.database,
      user: settings.user,
      // Always a function: without one `pg` takes PGPASSWORD and ~/.pgpass.
      password: (() => settings.password?.()) as () => string,
      ssl: tls === undefined ? false : { rejectUnauthorized: true, ...tls },
      application_name: settings.applicationName ?? 'rollcall',
      connectionTimeoutMillis: connect,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
      stream: () => this.#socket,
      // BEGIN and the first statement travel together, and so do the statements of a batch.
      pipeline: true,
      types: COLUMN_TYPES,
      options: [
        `statement_timeout=${statement}`,
        `lock_timeout=${lock}`,
        // A transaction of a node that was cut off, or stands still, must not hold its locks for others.
        `idle_in_transaction_session_timeout=${idle}`,
        ...UNREACHABLE_CLIENT,
        `search_path=${settings.schema ?? DEFAULT_SCHEMA}`,
        'TimeZone=UTC',
        // A role whose setting is `error` would not be told of a commit that no standby has.
        'client_min_messages=notice',
      ]
        .map((setting) => `-c ${setting}`)
        .join(' '),
    } as pg.ClientConfig);
    // Without a listener an error of an idle connection would end the process.
    this.#client.on('error', (error) => this.#lose(error));
    this.#client.on('end', () => this.#lose());
    this.#client.on('notification', ({ payload = '', processId }) => {
      this.#onNotification?.(payload, processId === this.process);
    });
    this.#client.on('notice', (notice) => this.#note(notice));
  }

  /** Whether it ended, or failed in a way that leaves its state unknown. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** The number of its process on the server, also behind a pooler. */
  get process(): number | undefined {
    return this.#process;
  }

  /** Of its server, when it was opened; undefined for an engine that numbers it in another way, or not. */
  get log(): ServerLog | undefined {
    return this.#log;
  }

  /** Since when the server has not answered, ms of `performance.now`; undefined when there is nothing to answer. */
  get waitingSince(): number | undefined {
    return this.#unanswered === 0 ? undefined : this.#lastAnswer;
  }

  /** Calls without waiting in between are sent together. Throws what `pg` throws. */
  query<R>(statement: Statement, values?: readonly unknown[]): Promise<Result<R>> {
    return this.#send(statement, values, this.#answerTimeout);
  }

  /** A statement that commits: the wait for standbys has no end of its own. */
  write<R>(statement: Statement, values?: readonly unknown[]): Promise<Result<R>> {
    return this.#send(statement, values, 0);
  }

  /** Throws what `pg` throws. `isMarked`: false for a transaction that says nothing when it is lost. */
  async commit(isMarked = true): Promise<Committed> {
    if (this.#log === undefined || !isMarked) {
      return { command: (await this.#answered(this.#client.query('COMMIT'))).command, mark: undefined };
    }
    // One message: the second statement is not done when the first one fails.
    const answers = (await this.#answered(this.#client.query(`SELECT ${MARK_COLUMNS}; COMMIT`))) as unknown;
    const [marked, committed] = answers as readonly [pg.QueryResult<MarkRow>, pg.QueryResult];
    return { command: committed.command, mark: this.markOf(marked.rows[0]) };
  }

  /** Of a statement with `marked` that has committed by itself. */
  markOf(row: Partial<MarkRow> | undefined): CommitMark | undefined {
    const { mark_place: place, mark_transaction: transaction } = row ?? {};
    if (this.#log === undefined || typeof place !== 'number' || typeof transaction !== 'string') return undefined;
    const { system, timeline } = this.#log;
    return { system, timeline, place, transaction };
  }

  /** Returns the warning of a commit since the last call: the server stopped waiting for its standbys. */
  takeCommitWarning(): string | undefined {
    const warning = this.#commitWarning;
    this.#commitWarning = undefined;
    return warning;
  }

  /** Waits a little for an answer that is on its way. */
  async close(): Promise<void> {
    this.#lose();
    const timer = setTimeout(() => this.#socket.destroy(), CLOSE_WITHIN_MS);
    await this.#client.end().catch(() => {});
    clearTimeout(timer);
  }

  /** At once: a statement on its way is rejected. */
  destroy(): void {
    this.#lose();
    this.#socket.destroy();
  }

  async #send<R>(statement: Statement, values: readonly unknown[] | undefined, timeout: number): Promise<Result<R>> {
    const config = { ...this.#textOf(statement), ...(values && { values: [...values] }), query_timeout: timeout };
    const answer: pg.QueryResult | readonly pg.QueryResult[] = await this.#answered(this.#client.query(config));
    // Several statements in one text have as many answers.
    if (Array.isArray(answer)) return { rows: [], count: 0 };
    const { rows, rowCount } = answer as pg.QueryResult;
    return { rows, count: rowCount ?? 0 };
  }

  #textOf(statement: Statement): { readonly name?: string; readonly text: string } {
    if (typeof statement === 'string') return { text: statement };
    const { name, text, marked } = statement;
    return { name, text: this.#log === undefined ? text : (marked ?? text) };
  }

  async #answered<Answer>(sent: Promise<Answer>): Promise<Answer> {
    if (this.#unanswered === 0) this.#lastAnswer = performance.now();
    this.#unanswered += 1;
    try {
      return await sent;
    } finally {
      this.#unanswered -= 1;
      this.#lastAnswer = performance.now();
    }
  }

  /** Calls `listener` once, also when this side ends it. */
  onLost(listener: (error: Error) => void): void {
    if (this.#isLost) listener(new Error('the connection was lost'));
    else this.#onLost.push(listener);
  }

  /** `isOwn`: this connection sent it. */
  onNotification(listener: (payload: string, isOwn: boolean) => void): void {
    this.#onNotification = listener;
  }

  #lose(error = new Error('the connection ended')): void {
    if (this.#isLost) return;
    this.#isLost = true;
    for (const listener of this.#onLost.splice(0)) listener(error);
  }

  /**
   * The function of the server that waits for standbys is named in its warning (syncrep.c); the text depends on the server's language.
   * Other warnings of a commit count, too: class 01, and class 57 for a server that stops.
   */
  #note({
    routine,
    code,
    message,
  }: {
    routine?: string | undefined;
    code?: string | undefined;
    message?: string | undefined;
  }) {
    if (routine === 'SyncRepWaitForLSN' || /^(01|57)/.test(code ?? '')) {
      this.#commitWarning = `${code}: ${message}`;
    }
  }

  /** Throws `ReadOnlyServer`, and the Problems of `expectServerSettings`. */
  async expectSettings(): Promise<ServerSettings> {
    const { rows } = await this.query<ServerSettings>(SERVER_SETTINGS);
    const found = rows[0] as ServerSettings;
    if (found.read_only !== 'off') throw new ReadOnlyServer('the server only reads');
    expectServerSettings(found, this.#standbys);
    return found;
  }

  async #prepareSession(): Promise<void> {
    const { synchronous_commit: commit, process, numbers_its_log } = await this.expectSettings();
    this.#process = process;
    const [log] = await Promise.all([
      numbers_its_log ? this.#readLog() : undefined,
      // Of this session from now on, whatever the server's settings become.
      commit === 'remote_apply' ? undefined : this.query('SET synchronous_commit = on'),
    ]);
    this.#log = log;
  }

  /** Undefined where the role may not read it, or the server only has the names of these functions. */
  async #readLog(): Promise<ServerLog | undefined> {
    try {
      return (await this.query<ServerLog>(SERVER_LOG)).rows[0];
    } catch (error) {
      if (error instanceof pg.DatabaseError && !isConnectionLost(error)) return undefined;
      throw error;
    }
  }
}
