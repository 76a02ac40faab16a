/**
 * The lease of a node on its own name. Its renewals are the heartbeats of the node, over a connection of their own: confirmed ones say that
 * the primary with its standbys knows of the node, so a primary without its standbys keeps no node alive.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import { DEAF_AFTER_MS, type Heartbeat } from '../heartbeat.ts';
import type { PostgresConnection } from './connection.ts';
import type { PostgresDatabase } from './database.ts';
import { type LeaseRecord, LeaseTable, type TakenLease } from './leases.ts';

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
  /** Another process has the name, once. `missing`: or the database lacks what it had confirmed, as a sentence. */
  readonly onLost?: ((missing: string | undefined) => void) | undefined;
}

const EVERY_MS = 250;
/** What clocks of two machines may differ in within a second, and more. */
const MARGIN_MS = 100;
const TIMEOUTS = { connect: 1_000, statement: 2_000, lock: 1_000, commit: 2_000, retry: 1_000 };

export class NodeLease {
  readonly epoch: number;
  /** Of this process alone. */
  readonly holder: string;
  #renewals: number;
  readonly #options: NodeLeaseOptions;
  readonly #database: PostgresDatabase;
  readonly #table: LeaseTable;
  readonly #lease: TakenLease;
  readonly #ended: Promise<void>;
  /** Ends the renewals. */
  readonly #stop = new AbortController();
  #isLost = false;

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
    lease: TakenLease,
    sentAt: number,
  ) {
    this.epoch = lease.epoch;
    this.#renewals = lease.renewals;
    this.holder = table.holder;
    this.#options = options;
    this.#database = database;
    this.#table = table;
    this.#lease = lease;
    options.heartbeat.confirm(sentAt);
    options.database.checkConnections((connection) => this.#expectNothingMissing(connection));
    this.#ended = this.#renew();
  }

  /** Of the last renewal that was confirmed, as in `LeaseRecord`. */
  get renewals(): number {
    return this.#renewals;
  }

  /** Ends the heartbeat, and frees the name at once. */
  async release(): Promise<void> {
    this.#stop.abort();
    this.#options.heartbeat.end();
    this.#options.database.checkConnections(undefined);
    await this.#ended;
    await this.#table.release([this.#lease]).catch((error: unknown) => this.#options.onFailure?.(error));
    await this.#database.close();
  }

  /** After a failover nothing is done on the new primary, and so nothing confirmed, before it was found to have all. */
  async #expectNothingMissing(connection: PostgresConnection): Promise<void> {
    const confirmed = this.#renewals;
    const missing =
      (await this.#database.missingIn(connection)) ??
      missingRenewals(this.#lease.name, confirmed, await renewalsOf(connection, this.#lease.name));
    if (missing === undefined) return;
    this.#lose(missing);
    throw new Problem('database_restored', { reason: missing });
  }

  async #missingRenewals(): Promise<string | undefined> {
    try {
      return missingRenewals(this.#lease.name, this.#renewals, await renewalsOf(this.#database, this.#lease.name));
    } catch (error) {
      this.#options.onFailure?.(error);
      return undefined; // The next start finds out.
    }
  }

  #lose(missing: string | undefined): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#stop.abort();
    this.#options.heartbeat.end();
    this.#options.onLost?.(missing);
  }

  async #renew(): Promise<void> {
    const { heartbeat, now, every = EVERY_MS, onFailure } = this.#options;
    const { signal } = this.#stop;
    for (;;) {
      await delay(every, undefined, { ref: false, signal }).catch(() => {});
      if (signal.aborted) return;
      const sentAt = now();
      try {
        const renewals = (await this.#table.renew([this.#lease])).get(this.#lease.name);
        // Each renewal counts one more: a database that counts less has lost one that it had confirmed.
        if (renewals !== undefined && renewals > this.#renewals) {
          this.#renewals = renewals;
          heartbeat.confirm(sentAt);
          continue;
        }
        heartbeat.end();
        const { name } = this.#lease;
        this.#lose(
          renewals === undefined ? await this.#missingRenewals() : missingRenewals(name, this.#renewals, renewals - 1),
        );
        return;
      } catch (error) {
        onFailure?.(error);
      }
    }
  }
}

const RENEWALS = 'SELECT renewals FROM leases WHERE name = $1';

async function renewalsOf(source: Pick<PostgresConnection, 'query'>, name: string): Promise<number> {
  const { rows } = await source.query<{ readonly renewals: number }>(RENEWALS, [name]);
  return rows[0]?.renewals ?? 0;
}

function missingRenewals(name: string, confirmed: number, found: number): string | undefined {
  if (found >= confirmed) return undefined;
  return `expected at least ${confirmed} renewals of the lease ${name}, as they were confirmed, found ${found}`;
}

function expectSilence(before: LeaseRecord, { node, epoch, renewedAt }: LeaseRecord): void {
  if (node === undefined || (epoch === before.epoch && renewedAt === before.renewedAt)) return;
  throw new Problem('node_exists', {
    reason: `expected no process that renews the lease of ${node}, found one with epoch ${epoch}`,
  });
}
