/** Queries of a journal on PostgreSQL: what `telemetry-reader.ts` answers of an embedded one. */

import {
  checkSeries,
  type DeviceStreams,
  memoryOf,
  packRows,
  type Row,
  SeriesSums,
  unpackRows,
} from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { Cursor } from '../cursor.ts';
import { LANE_POSITIONS, laneOf, type Position, positionNumber } from '../position.ts';
import type { StoredMessage, Telemetry, TelemetryRange } from '../telemetry.ts';
import { checkLimit, nothingSince, PAGE_BYTES, PAGE_MESSAGES, RESULT_BYTES, wantedOf } from '../telemetry-reader.ts';
import { BlockReader, type FoundMessage } from './block-reader.ts';
import { DAY_MS, type Days, dayName, dayNumber } from './days.ts';
import { Finder, type Wanted } from './finder.ts';
import { readLaneEnds } from './lane-ends.ts';
import { dayParts, type LaneState } from './lane-states.ts';
import { NewestMessages } from './newest-messages.ts';
import { ScatteredMessages } from './scattered-messages.ts';
import type { Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

/** Messages whose blocks are read at once. */
const READ_AT_ONCE = 64;

export interface LaneReaderOptions {
  readonly database: PostgresDatabase;
  readonly name: JournalName;
  readonly sources: Sources;
  readonly days: Days;
}

export function openLaneReader<Source extends string>({ database, name, sources, days }: LaneReaderOptions) {
  const blocks = new BlockReader(database, name, sources);
  const scattered = new ScatteredMessages(database, name, sources);
  const finder = new Finder(database, name, sources, blocks);
  const newest = new NewestMessages({ database, name, sources, blocks, scattered });
  const unpack = (rows: readonly Row[]) => unpackRows<Source>(packRows(rows)) as unknown as StoredMessage<Source>[];

  async function* pages(range: TelemetryRange<Source>): AsyncGenerator<readonly StoredMessage<Source>[]> {
    const wanted = wantedOf(range);
    const lanes = await blocks.lanes();
    let cursor = range.after ?? Cursor.BEGIN;
    for (const lane of lanes) {
      const after = cursor.readOf(lane.id) - lane.id * LANE_POSITIONS;
      if (after >= lane.newest) continue;
      for await (const rows of pagesOf(rowsOf(wanted, lane, after))) {
        const page = unpack(rows);
        if (lanes.length === 1) yield page;
        else {
          yield page.map((message) => {
            cursor = cursor.after(message.position);
            return { ...message, cursor };
          });
        }
      }
    }
  }

  async function* rowsOf(wanted: Wanted, lane: LaneState, after: number): AsyncGenerator<Row[]> {
    if (finder.isSought(wanted)) {
      for await (const found of finder.oldestFirst(wanted, lane, after)) {
        for (let at = 0; at < found.length; at += READ_AT_ONCE) {
          yield (await scattered.read(found.slice(at, at + READ_AT_ONCE))).filter((row) => isIn(wanted, row));
        }
      }
      return;
    }
    const { since, until, stream } = wanted;
    const devices = wanted.devices && new Set(wanted.devices);
    const begin = after === 0 ? 0 : ((await blocks.blockAt(lane, after + 1)) ?? after + 1) - 1;
    const last = lane.id * LANE_POSITIONS + after;
    for await (const rows of blocks.blocks({ lane, after: begin, upTo: lane.newest, since, until })) {
      yield rows.filter(
        (row) =>
          row.position > last &&
          isIn(wanted, row) &&
          (stream === undefined || row.source.stream === stream) &&
          (devices?.has(row.source.device) ?? true),
      );
    }
  }

  /** Of a message that may be gone: everything before it in its lane, and in other lanes before its stamp. */
  async function placeOf(position: Position): Promise<FoundMessage> {
    const number = positionNumber(position);
    const lane = laneOf(number);
    const inLane = number - lane * LANE_POSITIONS;
    const state = (await blocks.lanes()).find(({ id }) => id === lane);
    const days = state === undefined ? [] : dayParts(state, { after: inLane - 1, upTo: inLane }, 'oldest first').flat();
    const sql = `SELECT stamp FROM NAME_blocks WHERE lane = $1 AND first <= $2 AND day = ANY($3::int[])
      ORDER BY first DESC LIMIT 1`;
    const { rows } = await database.query<{ readonly stamp: number }>(named(sql, name), [lane, inLane, days]);
    return { lane, day: 0, first: inLane, index: 0, source: 0, time: 0, stamp: rows[0]?.stamp ?? 0 };
  }

  return {
    query: async (query) => {
      const { limit } = query;
      checkLimit(limit);
      const wanted = wantedOf(query);
      const before = query.before === undefined ? undefined : await placeOf(query.before);
      const found: Row[] = [];
      let bytes = 0;
      for await (const page of finder.newestFirst(wanted, before)) {
        for (let at = 0; at < page.length; at += READ_AT_ONCE) {
          for (const row of await scattered.read(page.slice(at, at + READ_AT_ONCE))) {
            if (!isIn(wanted, row)) continue;
            bytes += memoryOf(row);
            if (bytes > RESULT_BYTES && found.length > 0) return unpack(found.reverse());
            found.push(row);
            if (found.length === limit) return unpack(found.reverse());
          }
        }
      }
      return unpack(found.reverse());
    },
    pages,
    last: async (of, after = '') => unpack(await newest.page(typeof of === 'string' ? [of] : of, after)),
    series: async (query) => {
      checkSeries(query);
      const sums = new SeriesSums(query);
      for await (const page of pages(query)) {
        for (const { receivedAt, payload } of page) sums.add(receivedAt, payload);
      }
      return sums.result();
    },
    // Asked several times a second: without what lanes have stored on which days.
    end: async () =>
      Cursor.of((await readLaneEnds(database, name)).map(({ lane, newest: last }) => lane * LANE_POSITIONS + last)),
    bounds: async () => {
      const [lanes, stored] = [await blocks.lanes(), await days.list()];
      const positions = lanes.map(({ id, newest: last }) => {
        const firsts = stored.flatMap((day) => day.lanes.filter(({ lane }) => lane === id).map(({ first }) => first));
        const base = id * LANE_POSITIONS;
        return { begin: base + (firsts.length === 0 ? last : Math.min(...firsts) - 1), end: base + last };
      });
      const of = (which: 'begin' | 'end') => Cursor.of(positions.map((one) => one[which]));
      return { begin: of('begin'), end: of('end') };
    },
    cursorBefore: async (first) => {
      const lanes = await blocks.lanes();
      // A block has the day of its first message or a later one, and so of its newest message or the day before.
      const [condition, value, day] =
        'since' in first
          ? (['newest_at >= $2', first.since, dayNumber(first.since) - 1] as const)
          : (['stamp >= $2', (await placeOf(first.position)).stamp, 0] as const);
      const sql = `SELECT first FROM NAME_blocks WHERE lane = $1 AND ${condition} AND first <= $3 AND day >= $4 ORDER BY first LIMIT 1`;
      let isFound = false;
      const read: number[] = [];
      for (const { id, newest: last } of lanes) {
        const { rows } = await database.query<{ readonly first: number }>(named(sql, name), [id, value, last, day]);
        isFound ||= rows[0] !== undefined;
        read.push(id * LANE_POSITIONS + (rows[0] === undefined ? last : rows[0].first - 1));
      }
      if (!isFound && 'since' in first) throw nothingSince();
      return Cursor.of(read);
    },
    stats: async () => {
      const segments = (await days.list()).map(({ day, lanes }) => ({
        name: dayName(day),
        firstPosition: Math.min(...lanes.map(({ lane, first }) => lane * LANE_POSITIONS + first)),
        messages: lanes.reduce((sum, { messages }) => sum + messages, 0),
        bytes: lanes.reduce((sum, { bytes }) => sum + bytes, 0),
      }));
      return {
        segments,
        messages: segments.reduce((sum, { messages }) => sum + messages, 0),
        bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
        damaged: [],
      };
    },
    /** Of streams whose newest message is of the last so many days of the journal. */
    streams: async (ofDays: number): Promise<readonly DeviceStreams[]> => {
      const last = (await days.list()).at(-1);
      return last === undefined ? [] : newest.streams((last.day - ofDays) * DAY_MS);
    },
  } satisfies Partial<Omit<Telemetry<Source>, 'streams'>> & {
    end(): Promise<Cursor>;
    streams(days: number): Promise<readonly DeviceStreams[]>;
  };
}

function isIn({ since, until }: Wanted, { receivedAt }: Row): boolean {
  return receivedAt >= since && receivedAt < until;
}

async function* pagesOf(parts: AsyncGenerator<Row[]>): AsyncGenerator<readonly Row[]> {
  let page: Row[] = [];
  let bytes = 0;
  for await (const rows of parts) {
    for (const row of rows) {
      page.push(row);
      bytes += memoryOf(row);
      if (page.length < PAGE_MESSAGES && bytes < PAGE_BYTES) continue;
      yield page;
      page = [];
      bytes = 0;
    }
  }
  if (page.length > 0) yield page;
}
