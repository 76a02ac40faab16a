/**
 * The reserve of a journal on PostgreSQL: days beyond the bound on bytes, of which only messages of reserved classes are left. Each class
 * has a bound of its own over all these days. A day is written anew with what is left of it, in one transaction, so that the space of
 * the rest is free at once; messages stay in their blocks, with their positions. Holds a few blocks in memory.
 */

import { Problem } from '@rollcall/protocol';
import {
  checksumOf,
  lengthOf,
  META_BYTES,
  type SegmentStats,
  sourceOf,
  withoutSources,
  wordsOf,
} from '../../storage/index.ts';
import type { PostgresDatabase, PostgresTransaction } from '../../storage/postgres/index.ts';
import { LANE_POSITIONS } from '../position.ts';
import type { ReservedClasses } from '../reserve/reserved-messages.ts';
import { type Days, dayName, type LaneDay, type StoredDay } from './days.ts';
import { bucketOf, insertRun } from './device-index.ts';
import { BLOCK_OVERHEAD } from './lane.ts';
import type { Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

export interface DayReserveOptions {
  readonly database: PostgresDatabase;
  readonly name: JournalName;
  readonly days: Days;
  readonly sources: Sources;
  /** `part`: of the bytes that are retained, for each class; all other messages share the rest. */
  readonly reserved: ReservedClasses & { readonly part: number };
}

/** What a day of the reserve is marked with, in place of the devices whose messages were removed. */
const MARK = 'all but reserved';

/** Of at most 1 MiB each. */
const BLOCKS_AT_ONCE = 16;
/** Without their messages. */
const METAS_AT_ONCE = 256;

interface BlockRow {
  readonly first: number;
  readonly day: number;
  readonly count: number;
  readonly stamp: number;
  readonly oldest_at: number;
  readonly newest_at: number;
  readonly meta: Buffer;
  readonly data: Buffer;
}

/** What is left of a lane's day. */
interface Left {
  readonly messages: number;
  readonly bytes: number;
}

export class DayReserve {
  readonly #options: DayReserveOptions;

  constructor(options: DayReserveOptions) {
    this.#options = options;
  }

  /** Brings the journal within a bound on all of its bytes. Returns what was removed, by day. */
  async apply(bytes: number): Promise<readonly SegmentStats[]> {
    const { days, reserved } = this.#options;
    const { names, part } = reserved;
    const removed: SegmentStats[] = [];
    const stored = await days.list();
    const whole = stored.filter((day) => day.removed !== MARK);
    let total = whole.reduce((sum, day) => sum + bytesOf(day), 0);
    // The newest day is never reduced.
    for (const day of whole.filter((one) => one !== stored.at(-1))) {
      if (total <= bytes * (1 - part * names.length)) break;
      total -= bytesOf(day);
      removed.push(await this.#reduce(day, new Set(names)));
    }
    return [...removed, ...(await this.#evict(bytes * part))];
  }

  /** Removes the oldest messages of each class that has more bytes than it may. */
  async #evict(bytesPerClass: number): Promise<readonly SegmentStats[]> {
    const { days, reserved } = this.#options;
    const reduced = (await days.list()).slice(0, -1).filter((day) => day.removed === MARK);
    if (reduced.reduce((sum, day) => sum + bytesOf(day), 0) <= bytesPerClass) return [];
    const totals = new Map(reserved.names.map((name) => [name, 0]));
    const removed: SegmentStats[] = [];
    for (const day of reduced.toReversed()) {
      const own = await this.#bytesByClass(day);
      for (const [name, bytes] of own) totals.set(name, (totals.get(name) ?? 0) + bytes);
      const kept = reserved.names.filter((name) => (totals.get(name) ?? 0) <= bytesPerClass);
      if ([...own.keys()].some((name) => !kept.includes(name))) removed.push(await this.#reduce(day, new Set(kept)));
    }
    return removed;
  }

  async #bytesByClass({ day, lanes }: StoredDay): Promise<ReadonlyMap<string, number>> {
    const { database, name, sources, reserved } = this.#options;
    const bytes = new Map<string, number>();
    for (const { lane } of lanes) {
      for await (const rows of metasOf(
        (sql, values) => database.query<BlockRow>(named(sql, name), values),
        day,
        lane,
      )) {
        const metas = rows.map(({ meta }) => wordsOf(meta));
        const known = await sources.named(metas.flatMap(sourcesIn));
        for (const meta of metas) {
          for (let index = 0; index < meta.length / (META_BYTES / 4); index += 1) {
            const of = reserved.of(known.get(sourceOf(meta, index))?.stream ?? '');
            if (of !== undefined) bytes.set(of, (bytes.get(of) ?? 0) + lengthOf(meta, index) + META_BYTES);
          }
        }
      }
    }
    return bytes;
  }

  /** Leaves these classes of a day, or nothing of it where it has none. */
  async #reduce(stored: StoredDay, kept: ReadonlySet<string>): Promise<SegmentStats> {
    const { database, days } = this.#options;
    const left = await database.transaction((transaction) => this.#rewrite(transaction, stored, kept), {
      isUnlimited: true,
    });
    if (left.messages === 0) await days.remove(stored.day);
    return {
      name: dayName(stored.day),
      firstPosition: Math.min(...stored.lanes.map(({ lane, first }) => lane * LANE_POSITIONS + first)),
      messages: messagesOf(stored) - left.messages,
      bytes: bytesOf(stored) - left.bytes,
    };
  }

  async #rewrite(
    transaction: PostgresTransaction,
    { day, lanes }: StoredDay,
    kept: ReadonlySet<string>,
  ): Promise<Left> {
    const { name, days } = this.#options;
    await days.beginRewrite(transaction, day);
    const left: Left[] = [];
    let read = 0;
    for (const { lane } of lanes) {
      const done = await this.#copyLane(transaction, { day, lane, kept });
      read += done.read;
      left.push(done);
    }
    const found = await days.endRewrite(transaction, day);
    // A node whose clock is late stored something on that day meanwhile.
    if (found !== read) throw new Problem('unavailable', { reason: 'a day was written to while it was reduced' });
    for (const [index, { lane }] of lanes.entries()) {
      await this.#indexAgain(transaction, day, lane);
      const sql = `UPDATE NAME_days AS d SET removed = $3,
          messages = CASE WHEN d.slot = f.slot THEN $4::bigint ELSE 0 END, bytes = CASE WHEN d.slot = f.slot THEN $5::bigint ELSE 0 END
        FROM (SELECT min(slot) AS slot FROM NAME_days WHERE day = $1 AND lane = $2) AS f WHERE d.day = $1 AND d.lane = $2`;
      const { messages, bytes } = left[index] as Left;
      await transaction.query(named(sql, name), [day, lane, MARK, messages, bytes]);
    }
    return left.reduce((sum, one) => ({ messages: sum.messages + one.messages, bytes: sum.bytes + one.bytes }));
  }

  /** Copies what is left of the blocks of a lane into the day's next table. `read`: blocks that were there. */
  async #copyLane(
    transaction: PostgresTransaction,
    { day, lane, kept }: { readonly day: number; readonly lane: number; readonly kept: ReadonlySet<string> },
  ): Promise<Left & { readonly read: number }> {
    const { name, days, sources, reserved } = this.#options;
    let [messages, bytes, read] = [0, 0, 0];
    for (let after = 0; ; ) {
      const sql = `SELECT first, day, count, stamp, oldest_at, newest_at, meta, data FROM NAME_blocks
        WHERE lane = $1 AND first > $2 AND day = $3 ORDER BY first LIMIT ${BLOCKS_AT_ONCE}`;
      const { rows } = await transaction.query<BlockRow>(named(sql, name), [lane, after, day]);
      read += rows.length;
      const known = await sources.named(rows.flatMap(({ meta }) => sourcesIn(wordsOf(meta))));
      const isKept = (stream: string) => kept.has(reserved.of(stream) ?? '');
      const gone = new Set([...known.values()].filter(({ stream }) => !isKept(stream)).map(({ id }) => id));
      for (const row of rows) {
        const rest = withoutSources(wordsOf(row.meta), row.data, gone);
        const count = sourcesIn(rest.meta).length;
        if (count === 0) continue;
        const { meta, data } = { meta: bytesOfWords(rest.meta), data: rest.data };
        messages += count;
        bytes += meta.length + data.length + BLOCK_OVERHEAD;
        await days.copyBlock(transaction, day, [
          ...[lane, row.first, day, row.count, row.stamp, row.oldest_at, row.newest_at],
          ...[checksumOf(meta, data), meta, data],
        ]);
      }
      if (rows.length < BLOCKS_AT_ONCE) return { messages, bytes, read };
      after = (rows.at(-1) as BlockRow).first;
    }
  }

  /** Runs of what is left, as far as the lane had runs. */
  async #indexAgain(transaction: PostgresTransaction, day: number, lane: number): Promise<void> {
    const { name, sources } = this.#options;
    const mark = await transaction.query<{ readonly indexed: number }>(
      named('SELECT indexed FROM NAME_marks WHERE lane = $1', name),
      [lane],
    );
    const indexed = mark.rows[0]?.indexed ?? 0;
    const query = (sql: string, values: unknown[]) => transaction.query<BlockRow>(named(sql, name), values);
    for await (const rows of metasOf(query, day, lane)) {
      const blocks = rows
        .filter(({ first, count }) => first + count - 1 <= indexed)
        .map((row) => ({ ...row, meta: wordsOf(row.meta) }));
      if (blocks.length === 0) return;
      const known = await sources.named(blocks.flatMap(({ meta }) => sourcesIn(meta)));
      const buckets = new Map([...known].map(([id, { device }]) => [id, bucketOf(device)]));
      await insertRun(transaction, { name, lane, blocks, buckets });
    }
  }
}

async function* metasOf(
  query: (sql: string, values: unknown[]) => Promise<{ readonly rows: readonly BlockRow[] }>,
  day: number,
  lane: number,
): AsyncGenerator<readonly Omit<BlockRow, 'data'>[]> {
  const sql = `SELECT first, day, count, stamp, meta FROM NAME_blocks
    WHERE lane = $1 AND first > $2 AND day = $3 ORDER BY first LIMIT ${METAS_AT_ONCE}`;
  for (let after = 0; ; ) {
    const { rows } = await query(sql, [lane, after, day]);
    if (rows.length > 0) yield rows;
    if (rows.length < METAS_AT_ONCE) return;
    after = (rows.at(-1) as BlockRow).first;
  }
}

/** Of messages that were not removed. */
function sourcesIn(meta: Uint32Array): number[] {
  const all = Array.from({ length: meta.length / (META_BYTES / 4) }, (_, index) => sourceOf(meta, index));
  return all.filter((source) => source !== 0);
}

function bytesOfWords(words: Uint32Array): Buffer {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength);
}

function bytesOf({ lanes }: StoredDay): number {
  return sumOf(lanes, ({ bytes }) => bytes);
}

function messagesOf({ lanes }: StoredDay): number {
  return sumOf(lanes, ({ messages }) => messages);
}

function sumOf(lanes: readonly LaneDay[], pick: (lane: LaneDay) => number): number {
  return lanes.reduce((sum, lane) => sum + pick(lane), 0);
}
