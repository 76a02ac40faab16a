/**
 * What this node says of itself to the others, every five seconds and after each change, and the orders that operators gave it on any node.
 * Orders from before this process started are void.
 */

import { hostname } from 'node:os';
import { Problem } from '@rollcall/protocol';
import type { Wakes } from '../../storage/index.ts';
import {
  type ClockSkew,
  type FleetProtocol,
  measureClockSkew,
  type NodeOrder,
  type NodeRecords,
  type PostgresDatabase,
} from '../../storage/postgres/index.ts';

export interface OwnRecordOptions {
  readonly records: Pick<NodeRecords, 'save' | 'countOrders'>;
  readonly database: PostgresDatabase;
  readonly wakes: Wakes;
  readonly node: string;
  readonly roles: readonly string[];
  readonly version: string;
  readonly protocol: FleetProtocol;
  /** The version of its code for each set of tables. */
  readonly tables: Readonly<Record<string, number>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly failed: (error: unknown) => void;
}

export interface NodeCounts {
  readonly sessions: number;
  readonly connections: number;
}

/** Resolves when it is carried out. */
export type OrderHandler = (order: NodeOrder) => Promise<void>;

/** Wakes nodes that have an order. */
export const ORDERS = 'node-orders';

const EVERY_MS = 5_000;
const SAMPLE_MS = 1_000;

export class OwnRecord {
  skew: ClockSkew = { skew: 0, uncertainty: 0 };
  drainedSince: number | undefined;
  caKeys: readonly string[] | undefined;
  counts: () => NodeCounts = () => ({ sessions: 0, connections: 0 });
  readonly #options: OwnRecordOptions;
  readonly #startedAt: number;
  readonly #stops: (() => void)[] = [];
  #handler: OrderHandler | undefined;
  #done: number;
  /** The number of the order that is being carried out. */
  #working: number | undefined;
  #load = performance.eventLoopUtilization();
  #sampledAt = performance.now();
  #lastBusy: number | undefined;
  #saving: Promise<void> = Promise.resolve();

  static async open(options: OwnRecordOptions): Promise<OwnRecord> {
    const record = new OwnRecord(options, await options.records.countOrders(options.node));
    await record.save();
    const saveInTime = () => void record.save().catch(options.failed);
    const timer = setInterval(saveInTime, EVERY_MS).unref();
    record.#stops.push(() => clearInterval(timer), options.wakes.onWake(ORDERS, saveInTime));
    return record;
  }

  private constructor(options: OwnRecordOptions, orders: number) {
    this.#options = options;
    this.#startedAt = options.now();
    this.#done = orders;
  }

  /** Others are told at once when they have changed. */
  tellCaKeys(ids: readonly string[]): void {
    if (this.caKeys?.join() === ids.join()) return;
    this.caKeys = ids;
    void this.save().catch(this.#options.failed);
  }

  onOrder(handler: OrderHandler): void {
    this.#handler = handler;
    void this.save().catch(this.#options.failed);
  }

  /** One after the other. Begins to carry out an order that it finds. */
  save(): Promise<void> {
    const saved = this.#saving.then(() => this.#save());
    this.#saving = saved.catch(() => {});
    return saved;
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#handler = undefined;
  }

  async #save(): Promise<void> {
    const { records, database, node, roles, version, protocol, tables, now } = this.#options;
    this.skew = await measureClockSkew(database, now);
    const busy = this.#busy();
    const order = await records.save({
      ...{
        protocol,
        tables,
        name: node,
        roles,
        version,
        busy,
        startedAt: this.#startedAt,
        skew: this.skew.skew,
        host: hostname(),
      },
      ...{ ...this.counts(), drainedSince: this.drainedSince, ordersDone: this.#done, caKeys: this.caKeys },
    });
    if (order !== undefined && this.#working !== order.number) void this.#carryOut(order.number, order);
  }

  /** Of the time since the last sample: one of a few milliseconds would say little. */
  #busy(): number | undefined {
    const at = performance.now();
    if (at - this.#sampledAt < SAMPLE_MS) return this.#lastBusy;
    const load = performance.eventLoopUtilization();
    this.#lastBusy = performance.eventLoopUtilization(load, this.#load).utilization;
    this.#load = load;
    this.#sampledAt = at;
    return this.#lastBusy;
  }

  async #carryOut(number: number, order: NodeOrder): Promise<void> {
    const handler = this.#handler;
    if (handler === undefined) return;
    this.#working = number;
    // Not done, so that the operator is told.
    if (!isKnown(order))
      return this.#options.failed(new Problem('node_outdated', { reason: 'an order of an unknown kind' }));
    await handler(order).catch(this.#options.failed);
    this.#done = Math.max(this.#done, number);
    await this.save().catch(this.#options.failed);
  }
}

/** One of a newer release may be of another kind. */
function isKnown({ kind }: { readonly kind: string }): boolean {
  return kind === 'drain' || kind === 'undrain';
}
