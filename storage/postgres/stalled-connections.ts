/**
 * Ends connections that will not be answered although their server is there. After packets were lost for a while, TCP repeats them in
 * intervals that grow as long as the loss lasted, up to minutes; and a server that ended its side meanwhile answers nothing. So the
 * server is asked over a new connection what became of the sessions that do not answer. One that works or waits there keeps its connection.
 */

import type { PostgresConnection } from './connection.ts';
import { isSameHost } from './settings.ts';

export interface StalledConnectionsOptions {
  /** A connection to the server of another one, with short timeouts; it is not looked after. */
  readonly open: (like: PostgresConnection) => Promise<PostgresConnection>;
  readonly now?: () => number;
}

interface Session {
  readonly process: number;
  /** Null for a session that this role may not see. */
  readonly state: string | null;
  readonly since: string | null;
}

/** How long a statement is not answered before the server is asked, and between two such questions, ms. */
const EVERY_MS = 1_000;

/** Sees sessions of its own login role, whichever role that acts as. */
const AS_LOGIN_ROLE = 'SET ROLE NONE';
const SESSIONS = `SELECT pid AS process, state, state_change::text AS since FROM pg_stat_activity
  WHERE pid = ANY ($1::int[]) OR pid = pg_backend_pid()`;
const WORKING = /^(active|fastpath|disabled)/;

export class StalledConnections {
  readonly #options: StalledConnectionsOptions;
  readonly #now: () => number;
  readonly #connections = new Set<PostgresConnection>();
  /** What the server said of each session last, and since when its connection was waiting then. */
  readonly #said = new Map<PostgresConnection, string>();
  #asking: PostgresConnection | undefined;
  #isLooking = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StalledConnectionsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Until it is lost. */
  add(connection: PostgresConnection): void {
    this.#connections.add(connection);
    this.#timer ??= setInterval(() => void this.look(), EVERY_MS).unref();
    connection.onLost(() => {
      this.#connections.delete(connection);
      this.#said.delete(connection);
      if (this.#connections.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#endAsking();
    });
  }

  /** Ends what was found twice in the same state, so that an answer that is on its way arrives. */
  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const waiting = [...this.#connections].filter((connection) => this.#isWaiting(connection));
      for (const connection of this.#said.keys()) if (!waiting.includes(connection)) this.#said.delete(connection);
      const [first] = waiting;
      if (first === undefined) this.#endAsking();
      else this.#judge(waiting, await this.#sessionsOf(first, waiting));
    } catch {
      // It cannot be reached, so nothing is known.
      this.#endAsking();
    } finally {
      this.#isLooking = false;
    }
  }

  #isWaiting({ waitingSince }: PostgresConnection): boolean {
    return waitingSince !== undefined && this.#now() - waitingSince >= EVERY_MS;
  }

  async #sessionsOf(
    first: PostgresConnection,
    waiting: readonly PostgresConnection[],
  ): Promise<ReadonlyMap<number, Session>> {
    const asking = this.#asking ?? (await this.#options.open(first));
    if (this.#asking === undefined) {
      this.#asking = asking;
      await asking.query(AS_LOGIN_ROLE);
    }
    const processes = waiting.flatMap(({ process }) => process ?? []);
    const { rows } = await asking.query<Session>(SESSIONS, [processes]);
    return new Map(rows.map((session) => [session.process, session]));
  }

  #judge(waiting: readonly PostgresConnection[], sessions: ReadonlyMap<number, Session>): void {
    const { process: own, address: server } = this.#asking as PostgresConnection;
    // An engine that does not list sessions says nothing by not listing one.
    if (own === undefined || !sessions.has(own)) return;
    for (const connection of waiting) {
      const { process, address, waitingSince } = connection;
      if (process === undefined || !isSameHost(address, server)) continue;
      const { state, since } = sessions.get(process) ?? { state: 'gone', since: '' };
      if (state === null || WORKING.test(state)) {
        this.#said.delete(connection);
        continue;
      }
      const said = `${state} ${since} ${waitingSince}`;
      if (this.#said.get(connection) === said) connection.destroy();
      else this.#said.set(connection, said);
    }
  }

  #endAsking(): void {
    this.#asking?.destroy();
    this.#asking = undefined;
  }
}
