/**
 * Applies retention to a journal on PostgreSQL: whole days are dropped, or reduced to a reserve, and the messages of some devices are
 * taken out of the blocks of a day. Plans as the embedded journal does; the newest day is never removed. One node prunes at a time: who does is the caller's matter.
 */

import type { Logger } from 'pino';
import {
  checksumOf,
  META_BYTES,
  planRetention,
  type RetentionRules,
  type SegmentStats,
  withoutSources,
  wordsOf,
} from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { LANE_POSITIONS } from '../position.ts';
import type { DayReserve } from './day-reserve.ts';
import { type Days, dayName, type StoredDay } from './days.ts';
import type { Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

/** Of at most 1 MiB each, in one transaction. */
const BLOCKS_AT_ONCE = 16;

export interface LanePruningOptions {
  readonly database: PostgresDatabase;
  readonly name: JournalName;
  readonly days: Days;
  readonly sources: Sources;
  /** Devices that are in a group now. */
  devicesOf(group: string): Promise<readonly string[]>;
  /** Days beyond the bound on bytes are reduced to it; without it they are dropped. */
  readonly reserve?: DayReserve | undefined;
  readonly now: () => number;
  readonly log: Logger;
}

type Rewrite = ReturnType<typeof planRetention>['rewrites'][number];

export class LanePruning {
  readonly #options: LanePruningOptions;
  #latest: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: LanePruningOptions) {
    this.#options = options;
  }

  /** Resolves with what was removed, one after the other. */
  prune(rules: RetentionRules): Promise<readonly SegmentStats[]> {
    const pruning = this.#latest.then(() => this.#prune(rules));
    this.#latest = pruning.catch(() => {});
    return pruning;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#latest;
  }

  async #prune(rules: RetentionRules): Promise<readonly SegmentStats[]> {
    const { days, reserve, now, log } = this.#options;
    const stored = await days.list();
    const newest = stored.at(-1);
    if (newest === undefined) return [];
    const closed = stored.slice(0, -1);
    const planned = closed.map((one) => ({ day: dayName(one.day), bytes: bytesOf(one), removedMark: one.removed }));
    const current = { day: dayName(newest.day), bytes: bytesOf(newest) };
    const dropped = reserve === undefined ? rules : { ...rules, bytes: 0 };
    const plan = planRetention(dropped, { closed: planned, current, now: now() });
    if (plan.ahead > 0) log.warn({ aheadMs: plan.ahead }, 'the clock leapt: retention uses the time before the leap');
    const pruned: SegmentStats[] = [];
    for (const index of plan.removed) {
      const day = closed[index] as StoredDay;
      await days.remove(day.day);
      pruned.push(statsOf(day));
    }
    for (const rewrite of plan.rewrites) {
      if (this.#isClosed) break;
      const removed = await this.#rewrite(closed[rewrite.index] as StoredDay, rewrite);
      if (removed.messages > 0) pruned.push(removed);
    }
    if (reserve !== undefined && rules.bytes > 0 && !this.#isClosed) pruned.push(...(await reserve.apply(rules.bytes)));
    for (const one of pruned) log.info({ ...one }, 'telemetry pruned');
    return pruned;
  }

  async #rewrite(stored: StoredDay, { groups, which, mark }: Rewrite): Promise<SegmentStats> {
    const { database, name, sources, devicesOf } = this.#options;
    const devices = new Set((await Promise.all(groups.map((group) => devicesOf(group)))).flat());
    const all = await sources.of(which === 'removed' ? [...devices] : undefined, undefined);
    const gone = new Set(all.filter(({ device }) => devices.has(device) === (which === 'removed')).map(({ id }) => id));
    let [messages, bytes] = [0, 0];
    for (const { lane } of stored.lanes) {
      for (let after = 0; ; ) {
        const done = await this.#rewriteSome({ day: stored.day, lane, after, gone });
        messages += done.messages;
        bytes += done.bytes;
        if (done.last === undefined) break;
        after = done.last;
      }
      const sql = 'UPDATE NAME_days SET removed = $3 WHERE day = $1 AND lane = $2';
      await database.execute(named(sql, name), [stored.day, lane, mark]);
    }
    return { ...statsOf(stored), messages, bytes };
  }

  async #rewriteSome(part: { day: number; lane: number; after: number; gone: ReadonlySet<number> }) {
    const { database, name } = this.#options;
    const { day, lane, after, gone } = part;
    return database.transaction(async (transaction) => {
      // Locked: the node that pruned before may still be at it, and what both take out is counted once.
      const { rows } = await transaction.query<{ first: number; meta: Buffer; data: Buffer }>(
        named(
          `SELECT first, meta, data FROM NAME_blocks WHERE lane = $1 AND first > $2 AND day = $3
           ORDER BY first LIMIT ${BLOCKS_AT_ONCE} FOR UPDATE`,
          name,
        ),
        [lane, after, day],
      );
      let [messages, bytes] = [0, 0];
      for (const { first, meta, data } of rows) {
        const left = withoutSources(wordsOf(meta), data, gone);
        if (left.removed === 0) continue;
        messages += left.removed;
        bytes += data.length - left.data.length;
        const words = Buffer.from(left.meta.buffer, left.meta.byteOffset, (left.meta.length / 4) * META_BYTES);
        await transaction.query(
          named(
            'UPDATE NAME_blocks SET checksum = $4, meta = $5, data = $6 WHERE lane = $1 AND first = $2 AND day = $3',
            name,
          ),
          [lane, first, day, checksumOf(words, left.data), words, left.data],
        );
      }
      if (messages > 0) {
        const sql = `UPDATE NAME_days SET messages = messages - $3, bytes = bytes - $4 WHERE day = $1 AND lane = $2
          AND slot = (SELECT min(slot) FROM NAME_days WHERE day = $1 AND lane = $2)`;
        await transaction.query(named(sql, name), [day, lane, messages, bytes]);
      }
      return { messages, bytes, last: rows.length < BLOCKS_AT_ONCE ? undefined : rows.at(-1)?.first };
    });
  }
}

function bytesOf({ lanes }: StoredDay): number {
  return lanes.reduce((sum, { bytes }) => sum + bytes, 0);
}

function statsOf(stored: StoredDay): SegmentStats {
  const { day, lanes } = stored;
  return {
    name: dayName(day),
    firstPosition: Math.min(...lanes.map(({ lane, first }) => lane * LANE_POSITIONS + first)),
    messages: lanes.reduce((sum, { messages }) => sum + messages, 0),
    bytes: bytesOf(stored),
  };
}
