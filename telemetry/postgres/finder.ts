/**
 * Finds messages of some devices, or of all, in the order of the journal: by runs of the index where few devices are wanted, else in
 * all blocks of the time. Over several lanes messages are in the order of their stamps.
 */

import { wordsOf } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { BlockReader, FoundMessage, TimeRange } from './block-reader.ts';
import { bucketOf, ENTRY_WORDS, LONG_AFTER } from './device-index.ts';
import { dayParts, type LaneState, type ReadingOrder } from './lane-states.ts';
import type { Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

export interface Wanted extends TimeRange {
  /** Of all devices when undefined. */
  readonly devices: readonly string[] | undefined;
  readonly stream: string | undefined;
}

/** Up to so many devices are sought in runs; for more, all blocks are scanned. */
const MOST_SOUGHT = 8;

const RUNS_AT_ONCE = 64;

interface RunRow {
  readonly day: number;
  readonly first: number;
  readonly last: number;
  readonly stamp: number;
  readonly oldestAt: number;
  readonly entries: Buffer;
}

/** Of a lane and some of its days: runs that hold a message after one number and up to another. */
interface RunRange {
  readonly lane: LaneState;
  readonly days: readonly number[];
  readonly after: number;
  readonly upTo: number;
}

/** What is wanted, in numbers. */
interface Selection extends TimeRange {
  /** Undefined: of each source. */
  readonly ids: ReadonlySet<number> | undefined;
  /** Undefined: runs are not of use. */
  readonly buckets: readonly number[] | undefined;
}

export class Finder {
  readonly #database: PostgresDatabase;
  readonly #name: JournalName;
  readonly #sources: Sources;
  readonly #blocks: BlockReader;

  constructor(database: PostgresDatabase, name: JournalName, sources: Sources, blocks: BlockReader) {
    this.#database = database;
    this.#name = name;
    this.#sources = sources;
    this.#blocks = blocks;
  }

  /** Newest first, over all lanes; of those before a message where one is given. */
  async *newestFirst(wanted: Wanted, before?: FoundMessage): AsyncGenerator<FoundMessage[]> {
    const selection = await this.#select(wanted);
    if (selection.ids?.size === 0) return;
    const lanes = await this.#blocks.lanes();
    // In its lane nothing after it is read; in others its stamp decides.
    const lastOf = ({ id, newest }: LaneState) => (before?.lane === id ? before.first + before.index - 1 : newest);
    const each = lanes.map((lane) => this.#inLane(lane, selection, { after: 0, upTo: lastOf(lane) }, 'newest first'));
    for await (const found of merged(each)) {
      const earlier = before === undefined ? found : found.filter((one) => compare(one, before) < 0);
      if (earlier.length > 0) yield earlier;
    }
  }

  /** Of one lane, oldest first, after a number. */
  async *oldestFirst(wanted: Wanted, lane: LaneState, after: number): AsyncGenerator<FoundMessage[]> {
    const selection = await this.#select(wanted);
    if (selection.ids?.size === 0) return;
    for await (const found of this.#inLane(lane, selection, { after, upTo: lane.newest }, 'oldest first')) {
      const later = found.filter(({ first, index }) => first + index > after);
      if (later.length > 0) yield later;
    }
  }

  isSought({ devices }: Wanted): boolean {
    return devices !== undefined && devices.length <= MOST_SOUGHT;
  }

  async #select({ devices, stream, since, until }: Wanted): Promise<Selection> {
    const isAll = devices === undefined && stream === undefined;
    const ids = isAll ? undefined : new Set((await this.#sources.of(devices, stream)).map(({ id }) => id));
    const isSought = devices !== undefined && devices.length <= MOST_SOUGHT;
    return { ids, since, until, buckets: isSought ? [...new Set(devices.map(bucketOf))] : undefined };
  }

  async *#inLane(
    lane: LaneState,
    selection: Selection,
    { after, upTo }: { readonly after: number; readonly upTo: number },
    order: ReadingOrder,
  ): AsyncGenerator<FoundMessage[]> {
    const { since, until, buckets } = selection;
    const range = { lane, upTo, since, until };
    // A block that holds the message after `after` may begin before it.
    const begin = after === 0 ? 0 : ((await this.#blocks.blockAt(lane, after + 1)) ?? after + 1) - 1;
    if (buckets === undefined) {
      yield* chosen(this.#blocks.found({ ...range, after: begin }, order), selection);
      return;
    }
    const tail = { ...range, after: Math.max(lane.indexed, begin) };
    if (order === 'newest first') yield* chosen(this.#blocks.found(tail, order), selection);
    const indexed = { after: begin, upTo: Math.min(lane.indexed, upTo) };
    for (const days of dayParts(lane, indexed, order))
      yield* this.#inRuns({ lane, days, ...indexed }, selection, order);
    if (order === 'oldest first') yield* chosen(this.#blocks.found(tail, order), selection);
  }

  async *#inRuns(
    { lane, days, after, upTo }: RunRange,
    selection: Selection,
    order: ReadingOrder,
  ): AsyncGenerator<FoundMessage[]> {
    const { buckets = [], since, until } = selection;
    const isForward = order === 'oldest first';
    const sql = `SELECT day, first, last, stamp, oldest_at AS "oldestAt", entries FROM NAME_runs
      WHERE bucket = ANY($1::int[]) AND lane = $2 AND last > $3 AND first <= $4 AND newest_at >= $5 AND oldest_at < $6
        AND day = ANY($7::int[]) AND last <= $8
      ORDER BY last ${isForward ? '' : 'DESC'} LIMIT ${RUNS_AT_ONCE * buckets.length}`;
    let [from, to] = [after, lane.indexed];
    for (;;) {
      const values = [buckets, lane.id, from, upTo, since, until, days, to];
      const { rows } = await this.#database.query<RunRow>(named(sql, this.#name), values);
      const isLast = rows.length < RUNS_AT_ONCE * buckets.length;
      // Of the last run perhaps not all buckets are here; the next query begins with it.
      const cut = isLast || buckets.length === 1 ? undefined : rows.at(-1)?.last;
      const whole = rows.filter(({ last }) => last !== cut);
      const found = whole.flatMap((row) => entriesOf(row, lane.id, selection));
      const sign = isForward ? 1 : -1;
      if (found.length > 0) yield found.sort((one, other) => sign * compare(one, other));
      if (isLast) return;
      const last = whole.at(-1)?.last as number;
      if (isForward) from = last;
      else to = last - 1;
    }
  }
}

/** Negative for the earlier one. */
export function compare(one: FoundMessage, other: FoundMessage): number {
  if (one.lane === other.lane) return one.first + one.index - other.first - other.index;
  return one.stamp - other.stamp || one.lane - other.lane;
}

function entriesOf(
  { day, first, stamp, oldestAt, entries }: RunRow,
  lane: number,
  { ids, since, until }: Selection,
): FoundMessage[] {
  const words = wordsOf(entries);
  const found: FoundMessage[] = [];
  for (let at = 0; at < words.length; at += ENTRY_WORDS) {
    const source = words[at] as number;
    if (ids !== undefined && !ids.has(source)) continue;
    const later = words[at + 3] as number;
    const time = oldestAt + later;
    if (later !== LONG_AFTER && (time < since || time >= until)) continue;
    found.push({
      ...{ lane, day, source, first: first + (words[at + 1] as number), index: words[at + 2] as number },
      time,
      stamp: stamp + (words[at + 4] as number),
    });
  }
  return found;
}

async function* chosen(
  pages: AsyncGenerator<FoundMessage[]>,
  { ids, since, until }: Selection,
): AsyncGenerator<FoundMessage[]> {
  for await (const found of pages) {
    const these = found.filter(({ source, time }) => (ids?.has(source) ?? true) && time >= since && time < until);
    if (these.length > 0) yield these;
  }
}

/** Newest first; one lane, the usual case, passes through. */
async function* merged(lanes: readonly AsyncGenerator<FoundMessage[]>[]): AsyncGenerator<FoundMessage[]> {
  if (lanes.length === 1) {
    yield* lanes[0] as AsyncGenerator<FoundMessage[]>;
    return;
  }
  const heads: { readonly pages: AsyncGenerator<FoundMessage[]>; page: FoundMessage[]; at: number }[] = [];
  for (const pages of lanes) {
    const { value, done } = await pages.next();
    if (done !== true) heads.push({ pages, page: value, at: 0 });
  }
  while (heads.length > 0) {
    const found: FoundMessage[] = [];
    for (;;) {
      let newest = heads[0] as (typeof heads)[number];
      for (const head of heads) {
        const [one, other] = [head.page[head.at] as FoundMessage, newest.page[newest.at] as FoundMessage];
        if (compare(one, other) > 0) newest = head;
      }
      found.push(newest.page[newest.at] as FoundMessage);
      newest.at += 1;
      if (newest.at < newest.page.length) continue;
      const { value, done } = await newest.pages.next();
      if (done === true) heads.splice(heads.indexOf(newest), 1);
      else Object.assign(newest, { page: value, at: 0 });
      break;
    }
    yield found;
  }
}
