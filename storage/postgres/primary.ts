/** Finds the primary among several hosts, and finds it again after a failover: the one that accepts writes. */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import { PostgresConnection, ReadOnlyServer } from './connection.ts';
import { postgresProblem } from './postgres-problem.ts';
import type { PostgresHost, PostgresSettings } from './settings.ts';

/** No host is the primary now. */
export class NoPrimary extends Problem {
  constructor(reason: string, cause: unknown) {
    super('unavailable', { reason, cause, retryAfter: 1 });
  }
}

const OF_THE_PRIMARY = /^database_(settings_refused|server_unsupported)$/;

/** How long the last primary is asked alone, ms: another one is asked earlier than a host that is gone has timed out. */
const HEAD_START_MS = 500;

export class PrimaryFinder {
  readonly #settings: PostgresSettings;
  readonly #onMoved: (to: PostgresHost) => void;
  /** Where the last connection went. */
  #last: PostgresHost | undefined;

  /** `onMoved`: another host is the primary now; connections to others are of no use. */
  constructor(settings: PostgresSettings, onMoved: (to: PostgresHost) => void = () => {}) {
    this.#settings = settings;
    this.#onMoved = onMoved;
  }

  /** `NoPrimary` names each host and why it is not the primary; refusals of access or settings come as their own. */
  async connect(): Promise<PostgresConnection> {
    const { hosts } = this.#settings;
    const last = this.#last;
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
    this.#last = connection.address;
    if (last !== undefined && last !== this.#last) this.#onMoved(this.#last);
    return connection;
  }

  #open(host: PostgresHost): Promise<PostgresConnection> {
    return PostgresConnection.open(host, this.#settings);
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
  const words = hosts.map(({ host, port }, index) => `${host}:${port}: ${(problems[index] as Error).message}`);
  return new NoPrimary(`expected a primary of the database: ${words.join('; ')}`, failures.at(-1));
}
