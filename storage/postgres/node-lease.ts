/**
 * The lease of a node on its own name. Its renewals are the heartbeats of the node, over a connection of their own: confirmed ones say that
 * the primary with its standbys knows of the node, so a primary without its standbys keeps no node alive.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import { DEAF_AFTER_MS, type Heartbeat } from '../heartbeat.ts';
import type { PostgresDatabase } from './database.ts';
import { type HeldLease, type LeaseRecord, LeaseTable } from './leases.ts';

export const NODE_LEASES = 'node/';

export interface NodeLeaseOptions {
  readonly database: PostgresDatabase;
  readonly node: string;
  /** Confirmed by each renewal; ended when another process has the name. */
  readonly heartbeat: Heartbeat;
  /** The clock of `heartbeat`. */
  readonly now: () => number;
  /** Milliseconds between two renewals; 250 without it. */
  readonly every?: number | undefined;
  /** Milliseconds without a renewal after which the name is free; a little more than `deafAfter` of the heartbeat. */
  readonly duration?: number | undefined;
  /** A renewal failed; the next one follows. */
  readonly onFailure?: ((error: unknown) => void) | undefined;
  /** Another process has the name, once. */
  readonly onLost?: (() => void) | undefined;
}

const EVERY_MS = 250;
/** What clocks of two machines may differ in within a second, and more. */
const MARGIN_MS = 100;
const TIMEOUTS = { connect: 1_000, statement: 2_000, lock: 1_000, commit: 2_000, retry: 1_000 };

export class NodeLease {
  readonly epoch: number;
  /** Of this process alone. */
  readonly holder: string;
  readonly #options: NodeLeaseOptions;
  readonly #database: PostgresDatabase;
  readonly #table: LeaseTable;
  readonly #lease: HeldLease;
  readonly #ended: Promise<void>;
  #isClosed = false;

  /**
   * Waits as long as the name is not free: at most a little longer than `duration` after its former process was killed. Throws
   * Problem `node_exists` when another process renews it, and what the database throws.
   */
  static async take(options: NodeLeaseOptions): Promise<NodeLease> {
    const { node, now, duration = DEAF_AFTER_MS + MARGIN_MS } = options;
    const database = options.database.apart({ connections: 1, timeouts: TIMEOUTS });
    const table = new LeaseTable({ database, node, now });
    const name = NODE_LEASES + node;
    try {
      let before: LeaseRecord | undefined;
      for (;;) {
        const [record] = await table.read([name]);
        if (before !== undefined && record !== undefined) expectSilence(before, record);
        before = record;
        if (record === undefined || table.isFree(record)) {
          const sentAt = now();
          const lease = await table.take(name, duration, record);
          if (lease !== undefined) return new NodeLease(options, database, table, lease, sentAt);
        }
        await delay(duration / 5);
      }
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  private constructor(
    options: NodeLeaseOptions,
    database: PostgresDatabase,
    table: LeaseTable,
    lease: HeldLease,
    sentAt: number,
  ) {
    this.epoch = lease.epoch;
    this.holder = table.holder;
    this.#options = options;
    this.#database = database;
    this.#table = table;
    this.#lease = lease;
    options.heartbeat.confirm(sentAt);
    this.#ended = this.#renew();
  }

  /** Ends the heartbeat, and frees the name at once. */
  async release(): Promise<void> {
    this.#isClosed = true;
    this.#options.heartbeat.end();
    await this.#ended;
    await this.#table.release([this.#lease]).catch((error: unknown) => this.#options.onFailure?.(error));
    await this.#database.close();
  }

  async #renew(): Promise<void> {
    const { heartbeat, now, every = EVERY_MS, onFailure, onLost } = this.#options;
    while (!this.#isClosed) {
      await delay(every, undefined, { ref: false });
      if (this.#isClosed) return;
      const sentAt = now();
      try {
        const held = await this.#table.renew([this.#lease]);
        if (held.has(this.#lease.name)) {
          heartbeat.confirm(sentAt);
          continue;
        }
        heartbeat.end();
        onLost?.();
        return;
      } catch (error) {
        onFailure?.(error);
      }
    }
  }
}

function expectSilence(before: LeaseRecord, { node, epoch, renewedAt }: LeaseRecord): void {
  if (node === undefined || (epoch === before.epoch && renewedAt === before.renewedAt)) return;
  throw new Problem('node_exists', {
    reason: `expected no process that renews the lease of ${node}, found one with epoch ${epoch}`,
  });
}
