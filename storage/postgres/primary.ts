/** Finds the primary among several hosts, and finds it again after a failover: the one that accepts writes. */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import { ConfirmedCommits, type ServerLog } from './confirmed-commits.ts';
import { PostgresConnection, ReadOnlyServer } from './connection.ts';
import { postgresProblem } from './postgres-problem.ts';
import { isSameHost, type PostgresHost, type PostgresSettings } from './settings.ts';
import { StalledConnections } from './stalled-connections.ts';

/** No host is the primary now. */
export class NoPrimary extends Problem {
  constructor(reason: string, cause: unknown) {
    super('unavailable', { reason, cause, retryAfter: 1 });
  }
}

const OF_THE_PRIMARY = /^database_(settings_refused|server_unsupported)$/;

/** How long the last primary is asked alone, ms: another one is asked earlier than a host that is gone has timed out. */
const HEAD_START_MS = 500;

const TIMEOUTS_OF_QUESTIONS = { connect: 1_000, statement: 1_000 };

/** What all connections of one process know of the primary. */
export class KnownPrimary {
  /** Of this process, to all of its connections. */
  readonly commits = new ConfirmedCommits();
  /** Of each new connection, before anything else uses it; what it throws is thrown to those who wait for one. */
  check: ((connection: PostgresConnection) => Promise<void>) | undefined;
  readonly #onPrimary: ((address: PostgresHost) => void) | undefined;
  readonly #connections = new Set<PostgresConnection>();
  readonly #stalled: StalledConnections;
  #address: PostgresHost | undefined;
  /** Of the newest primary. */
  #log: ServerLog | undefined;

  constructor(settings: PostgresSettings) {
    this.#onPrimary = settings.onPrimary;
    const timeouts = { ...settings.timeouts, ...TIMEOUTS_OF_QUESTIONS };
    const open = ({ address }: PostgresConnection) => PostgresConnection.open(address, { ...settings, timeouts });
    this.#stalled = new StalledConnections({ open });
  }

  /** Where the last connection went. */
  get address(): PostgresHost | undefined {
    return this.#address;
  }

  /** Another server became the primary after this one, which nothing has stopped: it confirms nothing, and lacks what the other one has. */
  isFormer({ log }: PostgresConnection): boolean {
    const newest = this.#log;
    if (log === undefined || newest === undefined) return false;
    return log.system === newest.system && log.timeline < newest.timeline;
  }

  /** Once another host accepts writes, connections to the former one end: a host that is gone would never answer. */
  add(connection: PostgresConnection): void {
    const { address, log } = connection;
    if (log !== undefined && !this.isFormer(connection)) this.#log = log;
    this.#connections.add(connection);
    this.#stalled.add(connection);
    connection.onLost(() => this.#connections.delete(connection));
    if (this.#address !== undefined && isSameHost(address, this.#address)) return;
    this.#address = address;
    for (const other of this.#connections) {
      if (!isSameHost(other.address, address)) other.destroy();
    }
    this.#onPrimary?.(address);
  }
}

export class PrimaryFinder {
  readonly #settings: PostgresSettings;
  readonly #known: KnownPrimary;

  constructor(settings: PostgresSettings, known: KnownPrimary) {
    this.#settings = settings;
    this.#known = known;
  }

  /** `NoPrimary` names each host and why it is not the primary; refusals of access or settings come as their own. */
  async connect(): Promise<PostgresConnection> {
    const { hosts } = this.#settings;
    const last = hosts.find((host) => this.#known.address !== undefined && isSameHost(host, this.#known.address));
    let found: PostgresConnection | undefined;
    const first = last === undefined ? undefined : this.#open(last);
    const headStart =
      first === undefined
        ? undefined
        : Promise.race([first.catch(() => {}), delay(HEAD_START_MS, undefined, { ref: false })]);
    const attempts = hosts.map(async (host) => {
      if (host === last && first !== undefined) return first;
      await headStart;
      if (found !== undefined) throw new Error('not asked');
      return this.#open(host);
    });
    for (const attempt of attempts) {
      attempt.then(
        (one) => {
          found ??= one;
          // Only a cluster whose fencing failed has a second one.
          if (found !== one) void one.close();
        },
        () => {},
      );
    }
    try {
      await Promise.any(attempts);
    } catch (error) {
      throw refusal(hosts, (error as AggregateError).errors);
    }
    const connection = found as unknown as PostgresConnection;
    this.#known.add(connection);
    try {
      await this.#known.check?.(connection);
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return connection;
  }

  async #open(host: PostgresHost): Promise<PostgresConnection> {
    const connection = await PostgresConnection.open(host, this.#settings);
    if (!this.#known.isFormer(connection)) return connection;
    connection.destroy();
    throw new ReadOnlyServer('another server became the primary after it');
  }
}

function refusal(hosts: readonly PostgresHost[], failures: readonly unknown[]): unknown {
  const problems = failures.map((failure) =>
    failure instanceof ReadOnlyServer
      ? new Problem('unavailable', { reason: failure.message })
      : postgresProblem(failure),
  );
  const codes = problems.map((problem) => (problem instanceof Problem ? problem.code : 'internal'));
  // The primary itself refused; or every host that is no standby did, and none is missing that could be the primary.
  const isMissing = failures.some(
    (failure, index) => codes[index] === 'unavailable' && !(failure instanceof ReadOnlyServer),
  );
  const final = codes.findIndex((code) => (isMissing ? OF_THE_PRIMARY.test(code) : code !== 'unavailable'));
  if (final >= 0) return problems[final];
  const words = hosts.map(({ host, port }, index) => `${host}:${port}: ${wordsOf(problems[index])}`);
  return new NoPrimary(`expected a primary of the database: ${words.join('; ')}`, failures.at(-1));
}

/** The sentence of the code is that of the whole. */
function wordsOf(problem: unknown): string {
  const { reason, message } = problem as Problem | (Error & { readonly reason?: undefined });
  return reason ?? message;
}
