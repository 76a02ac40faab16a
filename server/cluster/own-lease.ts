/**
 * The lease of this node on its own name: whether its heartbeats are confirmed, who is told of that, and why it has to stop. Closing it frees
 * the name at once.
 */

import { Problem } from '@rollcall/protocol';
import { Heartbeat, type HeartbeatBounds, type Liveness } from '../../storage/index.ts';
import { NodeLease, type NodeRecords, type PostgresDatabase } from '../../storage/postgres/index.ts';
import { databaseRestored } from './confirmed-state.ts';
import type { FailureLog } from './failure-log.ts';
import type { StoreWatch } from './store-watch.ts';

export interface OwnLeaseOptions {
  readonly database: PostgresDatabase;
  readonly node: string;
  readonly records: Pick<NodeRecords, 'isRemoved'>;
  /** Remembers what was confirmed; ended when the database lacks a part of it. */
  readonly watch: Pick<StoreWatch, 'end'>;
  /** Milliseconds, as `Heartbeat` has them. */
  readonly clock: () => number;
  readonly failures: FailureLog;
  /** As `FleetServerOptions.heartbeat`. */
  readonly heartbeat?: HeartbeatBounds | undefined;
}

export class OwnLease {
  readonly #options: OwnLeaseOptions;
  readonly #listeners = new Set<(liveness: Liveness) => void>();
  readonly #lost = Promise.withResolvers<Problem>();
  readonly #heartbeat: Heartbeat;
  #lease: NodeLease | undefined;

  /**
   * Waits up to a second for the name when its former process was killed. Throws Problem `node_removed` or `node_exists`, and what the database
   * throws.
   */
  static async take(options: OwnLeaseOptions): Promise<OwnLease> {
    const { database, node, clock, failures } = options;
    await expectNotRemoved(options);
    const own = new OwnLease(options);
    own.#lease = await NodeLease.take({
      ...{ database, node, heartbeat: own.#heartbeat, now: clock },
      onFailure: (error) => failures.failed(error, 'the heartbeat of this node was not confirmed'),
      onLost: (missing) => own.#onLost(missing),
    });
    return own;
  }

  private constructor(options: OwnLeaseOptions) {
    this.#options = options;
    this.#heartbeat = new Heartbeat({
      ...options.heartbeat,
      now: options.clock,
      schedule: (milliseconds, action) => {
        const timer = setTimeout(action, milliseconds);
        return () => clearTimeout(timer);
      },
      onChange: (liveness) => {
        if (liveness === 'alive') options.failures.ended();
        for (const listener of this.#listeners) listener(liveness);
      },
    });
  }

  get epoch(): number {
    return this.#held.epoch;
  }

  /** Renewals that were confirmed. */
  get renewals(): number {
    return this.#held.renewals;
  }

  /** By the clock, at this moment. */
  get liveness(): Liveness {
    return this.#heartbeat.liveness;
  }

  /** When its last heartbeat was sent that was confirmed. */
  get heardAt(): number {
    return this.#heartbeat.confirmedAt;
  }

  /** Called at each change. Returns a function that removes the listener. */
  onLiveness(listener: (liveness: Liveness) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called once, also when that was before. */
  onLost(listener: (problem: Problem) => void): void {
    void this.#lost.promise.then(listener);
  }

  /** For another reason than its lease. */
  lose(problem: Problem): void {
    this.#lost.resolve(problem);
  }

  /** It may have been removed while it waited for its name: then it is lost. Throws what the database throws. */
  async lookWhetherRemoved(): Promise<void> {
    const { node, records } = this.#options;
    if (await records.isRemoved(node)) this.#lost.resolve(removed(node));
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#held.release();
  }

  get #held(): NodeLease {
    if (this.#lease === undefined) throw new Error('expected the lease of this node, found none');
    return this.#lease;
  }

  /** `missing`: what the database lacks of what it had confirmed. */
  #onLost(missing: string | undefined): void {
    const { node, records, watch } = this.#options;
    if (missing !== undefined) {
      this.#lost.resolve(databaseRestored(missing));
      watch.end();
      return;
    }
    const told = (isRemoved: boolean) =>
      this.#lost.resolve(
        isRemoved ? removed(node) : new Problem('node_exists', { reason: `another process has the lease of ${node}` }),
      );
    records.isRemoved(node).then(told, () => told(false));
  }
}

async function expectNotRemoved({ node, records }: OwnLeaseOptions): Promise<void> {
  if (await records.isRemoved(node)) throw removed(node);
}

function removed(node: string): Problem {
  return new Problem('node_removed', { reason: `node ${node} was removed` });
}
