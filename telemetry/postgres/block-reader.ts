/** Reads the blocks of a journal on PostgreSQL in their order. Knows no query of telemetry. */

import { type Row, sourceOf, timeOf, wordsOf } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { dayParts, type LaneState, type ReadingOrder, readLaneStates } from './lane-states.ts';
import { OpenBlock, type WholeBlock } from './open-block.ts';
import type { Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

/** A message without its bytes. */
export interface FoundMessage {
  readonly lane: number;
  readonly day: number;
  /** Of its block. */
  readonly first: number;
  readonly index: number;
  readonly source: number;
  readonly time: number;
  readonly stamp: number;
}

export interface TimeRange {
  readonly since: number;
  readonly until: number;
}

/** Blocks of a lane whose first message is greater than one number and at most another. */
export interface BlockRange extends TimeRange {
  readonly lane: LaneState;
  readonly after: number;
  readonly upTo: number;
}

interface MetaRow {
  readonly day: number;
  readonly first: number;
  readonly count: number;
  readonly stamp: number;
  readonly meta: Buffer;
}

/** Blocks whose `meta` is read at once. */
const METAS_AT_ONCE = 128;

/** Whole blocks that are read at once, of at most 1 MiB each. */
const BLOCKS_AT_ONCE = 16;

export class BlockReader {
  readonly #database: PostgresDatabase;
  readonly #name: JournalName;
  readonly #sources: Sources;

  constructor(database: PostgresDatabase, name: JournalName, sources: Sources) {
    this.#database = database;
    this.#name = name;
    this.#sources = sources;
  }

  lanes(): Promise<readonly LaneState[]> {
    return readLaneStates(this.#database, this.#name);
  }

  /** First number of the block that holds a message; undefined where none does. */
  async blockAt(lane: LaneState, number: number): Promise<number | undefined> {
    const sql = `SELECT first, count FROM NAME_blocks WHERE lane = $1 AND first <= $2 AND day = ANY($3::int[])
      ORDER BY first DESC LIMIT 1`;
    const days = dayParts(lane, { after: number - 1, upTo: number }, 'oldest first').flat();
    if (days.length === 0) return undefined;
    const { rows } = await this.#database.query<MetaRow>(named(sql, this.#name), [lane.id, number, days]);
    const found = rows[0];
    return found !== undefined && found.first + found.count > number ? found.first : undefined;
  }

  /** What is in blocks, without their bytes, a few blocks at a time. Removed messages are left out. */
  async *found(range: BlockRange, order: ReadingOrder): AsyncGenerator<FoundMessage[]> {
    for (const days of dayParts(range.lane, range, order)) yield* this.#foundOn(days, range, order);
  }

  async *#foundOn(days: readonly number[], range: BlockRange, order: ReadingOrder): AsyncGenerator<FoundMessage[]> {
    const { since, until } = range;
    const lane = range.lane.id;
    let { after, upTo } = range;
    const isForward = order === 'oldest first';
    const sql = `SELECT day, first, count, stamp, meta FROM NAME_blocks
      WHERE lane = $1 AND first > $2 AND first <= $3 AND newest_at >= $4 AND oldest_at < $5 AND day = ANY($6::int[])
      ORDER BY first ${isForward ? '' : 'DESC'} LIMIT ${METAS_AT_ONCE}`;
    for (;;) {
      const { rows } = await this.#database.query<MetaRow>(named(sql, this.#name), [
        ...[lane, after, upTo, since, until, days],
      ]);
      const found: FoundMessage[] = [];
      for (const { day, first, count, stamp, meta: bytes } of rows) {
        const meta = wordsOf(bytes);
        for (let i = 0; i < count; i += 1) {
          const index = isForward ? i : count - 1 - i;
          const source = sourceOf(meta, index);
          if (source !== 0) found.push({ lane, day, first, index, source, time: timeOf(meta, index), stamp });
        }
        if (isForward) after = first;
        else upTo = first - 1;
      }
      if (found.length > 0) yield found;
      if (rows.length < METAS_AT_ONCE) return;
    }
  }

  /** Whole blocks in their order, a few at a time, as messages. */
  async *blocks(range: BlockRange): AsyncGenerator<Row[]> {
    for (const days of dayParts(range.lane, range, 'oldest first')) yield* this.#blocksOn(days, range);
  }

  async *#blocksOn(days: readonly number[], { lane, after, upTo, since, until }: BlockRange): AsyncGenerator<Row[]> {
    const sql = `SELECT lane, day, first, count, stamp, checksum, meta, data FROM NAME_blocks
      WHERE lane = $1 AND first > $2 AND first <= $3 AND newest_at >= $4 AND oldest_at < $5 AND day = ANY($6::int[])
      ORDER BY first LIMIT ${BLOCKS_AT_ONCE}`;
    for (let last = after; ; ) {
      const { rows } = await this.#database.query<WholeBlock>(named(sql, this.#name), [
        ...[lane.id, last, upTo, since, until, days],
      ]);
      const open = rows.map((row) => OpenBlock.of(row));
      const sources = await this.#sources.named(open.flatMap((block) => block.sources()));
      for (const block of open) yield block.rows(sources);
      if (rows.length < BLOCKS_AT_ONCE) return;
      last = (rows.at(-1) as WholeBlock).first;
    }
  }
}
