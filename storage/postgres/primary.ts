/** Finds the primary among several hosts, and finds it again after a failover: the one that accepts writes. */

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

export class PrimaryFinder {
  readonly #settings: PostgresSettings;
  /** Where the last connection went. */
  #last: PostgresHost | undefined;

  constructor(settings: PostgresSettings) {
    this.#settings = settings;
  }

  /** `NoPrimary` names each host and why it is not the primary; refusals of access or settings come as their own. */
  async connect(): Promise<PostgresConnection> {
    const last = this.#last;
    const failures: unknown[] = [];
    if (last !== undefined) {
      try {
        return await this.#open(last);
      } catch (error) {
        failures.push(error);
      }
    }
    const others = this.#settings.hosts.filter((host) => host !== last);
    const attempts = others.map((host) => this.#open(host));
    try {
      const first = await Promise.any(attempts);
      // Only a cluster whose fencing failed has a second one.
      for (const attempt of attempts) {
        attempt.then((one) => (one === first ? undefined : one.close())).catch(() => {});
      }
      this.#last = first.address;
      return first;
    } catch (error) {
      if (error instanceof AggregateError) failures.push(...error.errors);
    }
    throw this.#refusal(last === undefined ? others : [last, ...others], failures);
  }

  #open(host: PostgresHost): Promise<PostgresConnection> {
    return PostgresConnection.open(host, this.#settings);
  }

  #refusal(hosts: readonly PostgresHost[], failures: readonly unknown[]): unknown {
    const problems = failures.map((failure) =>
      failure instanceof ReadOnlyServer
        ? new Problem('unavailable', { reason: failure.message })
        : postgresProblem(failure),
    );
    // What no other try can mend is more useful than the list.
    const final = problems.find((problem) => !(problem instanceof Problem) || problem.code !== 'unavailable');
    if (final !== undefined) return final;
    const words = hosts.map(({ host, port }, index) => `${host}:${port}: ${(problems[index] as Problem).reason}`);
    return new NoPrimary(`expected a primary of the database: ${words.join('; ')}`, failures.at(-1));
  }
}
