/**
 * Which messages of a lane are of which device, and the newest message of each source: written after the blocks, for some thousands of
 * messages at once, so that a message costs 20 bytes of index and no row. Readers find what came later in the blocks themselves.
 *
 * A run has an entry for each of its messages, in rows by bucket of the device: five unsigned numbers of 32 bits: source, first message
 * of its block (from the run's first on), its place in the block, ms after the run's oldest message, ms after the run's stamp.
 */

import { crc32 } from 'node:zlib';
import { sourceOf, timeOf, wordsOf } from '../../storage/index.ts';
import type { PostgresDatabase, PostgresTransaction } from '../../storage/postgres/index.ts';
import type { StoredBlock } from './lane.ts';
import type { Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

export const ENTRY_WORDS = 5;
/** Of times: so much or more. */
export const LONG_AFTER = 0xffffffff;

const BUCKETS = 64;

/** Sources whose bucket is in memory. */
const MOST_BUCKETS = 500_000;

/** Messages that wait for their run. */
export const RUN_LENGTH = 8192;

/** Sources per row of the newest ones, and bytes of each: number, stamp, first of its block (64-bit floats), day. */
const PART_SOURCES = 1024;
const NEWEST_BYTES = 28;

/** Blocks of a lane that were stored before this process, read at once. */
const BLOCKS_AT_ONCE = 256;

export type IndexedBlock = Pick<StoredBlock, 'day' | 'first' | 'count' | 'stamp'> & { readonly meta: Uint32Array };

export function bucketOf(device: string): number {
  return crc32(device) % BUCKETS;
}

export interface DeviceIndexOptions {
  readonly database: PostgresDatabase;
  readonly name: JournalName;
  readonly sources: Sources;
  readonly lane: number;
  readonly runLength: number;
  /** Writing failed; it is repeated with more. */
  failed(error: unknown): void;
}

export class DeviceIndex {
  readonly #options: DeviceIndexOptions;
  /** Not in a run yet. */
  #waiting: IndexedBlock[] = [];
  #length = 0;
  /** Number of the newest message that is in a run or waits for one. */
  #newest = 0;
  /** Messages that begin the next run. */
  #due: number;
  #writing: Promise<void> | undefined;
  /** By number of a source. */
  readonly #buckets = new Map<number, number>();
  /** Parts of the newest messages, as they are stored. */
  readonly #parts = new Map<number, Buffer>();

  constructor(options: DeviceIndexOptions) {
    this.#options = options;
    this.#due = options.runLength;
  }

  /** Reads what no run holds of the lease before. */
  async open(): Promise<void> {
    const { database, name, lane } = this.#options;
    const mark = 'SELECT indexed FROM NAME_marks WHERE lane = $1';
    const { rows } = await database.query<{ readonly indexed: number }>(named(mark, name), [lane]);
    this.#newest = rows[0]?.indexed ?? 0;
    await this.catchUp();
  }

  /** Adds what is stored of the lane and was not added. */
  async catchUp(): Promise<void> {
    const { database, name, lane } = this.#options;
    for (;;) {
      const sql = `SELECT day, first, count, stamp, meta FROM NAME_blocks
        WHERE lane = $1 AND first > $2 ORDER BY first LIMIT ${BLOCKS_AT_ONCE}`;
      const values = [lane, this.#newest];
      const found = await database.query<IndexedBlock & { readonly meta: Buffer }>(named(sql, name), values);
      for (const block of found.rows) this.add({ ...block, meta: wordsOf(block.meta as unknown as Buffer) });
      if (found.count < BLOCKS_AT_ONCE) return;
    }
  }

  /** Of a block that is stored. */
  add(block: IndexedBlock): void {
    const isNewDay = (this.#waiting.at(-1)?.day ?? block.day) !== block.day;
    this.#waiting.push(block);
    this.#length += block.count;
    this.#newest = block.first + block.count - 1;
    if (this.#length >= this.#due || isNewDay) this.#writing ??= this.#write();
  }

  /** Writes a run of what waits, however short. */
  async flush(): Promise<void> {
    await this.#writing;
    if (this.#waiting.length > 0) await this.#write();
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    const blocks = this.#waiting;
    this.#waiting = [];
    this.#length = 0;
    try {
      await this.#writeRuns(blocks);
      this.#due = this.#options.runLength;
    } catch (error) {
      this.#waiting = [...blocks, ...this.#waiting];
      this.#length += blocks.reduce((sum, { count }) => sum + count, 0);
      this.#due = this.#length + this.#options.runLength;
      this.#options.failed(error);
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeRuns(blocks: readonly IndexedBlock[]): Promise<void> {
    const { database, name, lane } = this.#options;
    await this.#prepare(sourcesIn(blocks));
    const buckets = this.#buckets;
    const changed = this.#noteNewest(blocks);
    const last = blocks.at(-1) as IndexedBlock;
    await database.transaction(async (transaction) => {
      for (const run of sameDays(blocks)) await insertRun(transaction, { name, lane, blocks: run, buckets });
      const parts = [...changed];
      await transaction.query(
        named(
          `INSERT INTO NAME_newest (lane, part, entries)
           SELECT $1, p.part, p.entries FROM unnest($2::int[], $3::bytea[]) AS p (part, entries)
           ON CONFLICT (lane, part) DO UPDATE SET entries = excluded.entries`,
          name,
        ),
        [lane, parts, parts.map((part) => this.#parts.get(part))],
      );
      await transaction.query(named('UPDATE NAME_marks SET indexed = greatest(indexed, $2) WHERE lane = $1', name), [
        lane,
        last.first + last.count - 1,
      ]);
    });
  }

  /** Buckets and parts of these sources are in memory when it resolves. */
  async #prepare(ids: ReadonlySet<number>): Promise<void> {
    const { database, name, sources, lane } = this.#options;
    if (this.#buckets.size > MOST_BUCKETS) this.#buckets.clear();
    const unknown: number[] = [];
    const parts = new Set<number>();
    for (const id of ids) {
      parts.add(partOf(id));
      if (!this.#buckets.has(id)) unknown.push(id);
    }
    for (const [id, { device }] of await sources.named(unknown)) this.#buckets.set(id, bucketOf(device));
    const wanted = [...parts].filter((part) => !this.#parts.has(part));
    if (wanted.length === 0) return;
    const sql = 'SELECT part, entries FROM NAME_newest WHERE lane = $1 AND part = ANY($2::int[])';
    const { rows } = await database.query<{ part: number; entries: Buffer }>(named(sql, name), [lane, wanted]);
    for (const part of wanted) this.#parts.set(part, Buffer.alloc(PART_SOURCES * NEWEST_BYTES));
    for (const { part, entries } of rows) this.#parts.set(part, entries);
  }

  #noteNewest(blocks: readonly IndexedBlock[]): ReadonlySet<number> {
    const changed = new Set<number>();
    for (const { day, first, count, stamp, meta } of blocks) {
      for (let index = 0; index < count; index += 1) {
        const source = sourceOf(meta, index);
        if (source === 0) continue;
        const part = partOf(source);
        changed.add(part);
        const entries = this.#parts.get(part) as Buffer;
        putNewest(entries, source, { number: first + index, stamp, first, day });
      }
    }
    return changed;
  }
}

export interface Newest {
  readonly number: number;
  readonly stamp: number;
  /** Of its block. */
  readonly first: number;
  readonly day: number;
}

export function partOf(source: number): number {
  return Math.floor(source / PART_SOURCES);
}

/** Of each source that a part knows. */
export function* newestIn(part: number, entries: Buffer): Generator<readonly [source: number, newest: Newest]> {
  for (let place = 0; place < PART_SOURCES; place += 1) {
    const at = place * NEWEST_BYTES;
    const number = entries.readDoubleLE(at);
    if (number === 0) continue;
    const stamp = entries.readDoubleLE(at + 8);
    const newest = { number, stamp, first: entries.readDoubleLE(at + 16), day: entries.readUInt32LE(at + 24) };
    yield [part * PART_SOURCES + place, newest];
  }
}

function putNewest(entries: Buffer, source: number, { number, stamp, first, day }: Newest): void {
  const at = (source % PART_SOURCES) * NEWEST_BYTES;
  entries.writeDoubleLE(number, at);
  entries.writeDoubleLE(stamp, at + 8);
  entries.writeDoubleLE(first, at + 16);
  entries.writeUInt32LE(day, at + 24);
}

interface Run {
  readonly name: JournalName;
  readonly lane: number;
  /** Of one day. */
  readonly blocks: readonly IndexedBlock[];
  readonly buckets: ReadonlyMap<number, number>;
}

/** Messages that retention removed are not in it. */
export async function insertRun({ query }: PostgresTransaction, { name, lane, blocks, buckets }: Run): Promise<void> {
  const [begin, end] = [blocks[0] as IndexedBlock, blocks.at(-1) as IndexedBlock];
  let [oldest, newest] = [Number.POSITIVE_INFINITY, 0];
  const lengths = new Map<number, number>();
  for (const { count, meta } of blocks) {
    for (let index = 0; index < count; index += 1) {
      const source = sourceOf(meta, index);
      if (source === 0) continue;
      const time = timeOf(meta, index);
      if (time < oldest) oldest = time;
      if (time > newest) newest = time;
      const bucket = buckets.get(source) as number;
      lengths.set(bucket, (lengths.get(bucket) ?? 0) + ENTRY_WORDS);
    }
  }
  if (lengths.size === 0) return;
  const entries = new Map([...lengths].map(([bucket, length]) => [bucket, new Uint32Array(length)]));
  const ends = new Map<number, number>();
  for (const { first, count, stamp, meta } of blocks) {
    for (let index = 0; index < count; index += 1) {
      const source = sourceOf(meta, index);
      if (source === 0) continue;
      const bucket = buckets.get(source) as number;
      const words = entries.get(bucket) as Uint32Array;
      const at = ends.get(bucket) ?? 0;
      words[at] = source;
      words[at + 1] = first - begin.first;
      words[at + 2] = index;
      words[at + 3] = Math.min(timeOf(meta, index) - oldest, LONG_AFTER);
      words[at + 4] = Math.min(stamp - begin.stamp, LONG_AFTER);
      ends.set(bucket, at + ENTRY_WORDS);
    }
  }
  await query(
    named(
      `INSERT INTO NAME_runs (bucket, lane, last, day, first, stamp, oldest_at, newest_at, entries)
       SELECT r.bucket, $1::int, $2::bigint, $3::int, $4::bigint, $5::bigint, $6::bigint, $7::bigint, r.entries
       FROM unnest($8::int[], $9::bytea[]) AS r (bucket, entries)
       ON CONFLICT DO NOTHING`,
      name,
    ),
    [
      lane,
      end.first + end.count - 1,
      begin.day,
      begin.first,
      begin.stamp,
      oldest,
      newest,
      [...entries.keys()],
      [...entries.values()].map(({ buffer }) => Buffer.from(buffer)),
    ],
  );
}

function* sameDays(blocks: readonly IndexedBlock[]): Generator<readonly IndexedBlock[]> {
  let begin = 0;
  for (let end = 1; end <= blocks.length; end += 1) {
    if (blocks[end]?.day === blocks[begin]?.day) continue;
    yield blocks.slice(begin, end);
    begin = end;
  }
}

function sourcesIn(blocks: readonly IndexedBlock[]): ReadonlySet<number> {
  const ids = new Set<number>();
  for (const { count, meta } of blocks) {
    for (let index = 0; index < count; index += 1) ids.add(sourceOf(meta, index));
  }
  ids.delete(0); // of messages that retention removed
  return ids;
}
