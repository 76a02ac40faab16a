/**
 * Reads the journal of a store that several nodes share, all lanes as one: in the order of the stamps of blocks, which is that of each
 * device's messages. No node writes it.
 */

import type { Row } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { LANE_POSITIONS } from '../position.ts';
import { dayParts, type LaneState, readLaneStates } from '../postgres/lane-states.ts';
import { OpenBlock, type WholeBlock } from '../postgres/open-block.ts';
import { Sources } from '../postgres/sources.ts';
import { type JournalName, named, prepareTables } from '../postgres/tables.ts';
import { type CopiedMessage, copiedMessage } from './copied-message.ts';

/** Whole blocks of one lane, of at most 1 MiB each. */
const BLOCKS_AT_ONCE = 8;

interface StampedRows {
  readonly stamp: number;
  readonly rows: readonly Row[];
}

export class LaneSource {
  readonly #database: PostgresDatabase;
  readonly #name: JournalName;
  readonly #sources: Sources;

  /** Makes the tables where there are none. */
  static async open(database: PostgresDatabase, name: JournalName): Promise<LaneSource> {
    await prepareTables(database, name);
    return new LaneSource(database, name);
  }

  private constructor(database: PostgresDatabase, name: JournalName) {
    this.#database = database;
    this.#name = name;
    this.#sources = new Sources(database, name);
  }

  /** The newest number of lane 0; 0 without one. */
  async newestOfFirstLane(): Promise<number> {
    const lanes = await readLaneStates(this.#database, this.#name);
    return lanes.find(({ id }) => id === 0)?.newest ?? 0;
  }

  /** Positions are those of the store. */
  async *pages(): AsyncGenerator<readonly CopiedMessage[]> {
    const lanes = await readLaneStates(this.#database, this.#name);
    const heads: { readonly blocks: AsyncGenerator<StampedRows>; head: StampedRows }[] = [];
    for (const lane of lanes) {
      const blocks = this.#blocks(lane);
      const { value, done } = await blocks.next();
      if (done !== true) heads.push({ blocks, head: value });
    }
    while (heads.length > 0) {
      // The first of those with the least stamp: lanes are in their order.
      const least = heads.reduce((one, other) => (other.head.stamp < one.head.stamp ? other : one));
      if (least.head.rows.length > 0) yield least.head.rows.map(copiedMessage);
      const { value, done } = await least.blocks.next();
      if (done === true) heads.splice(heads.indexOf(least), 1);
      else least.head = value;
    }
  }

  async *#blocks(lane: LaneState): AsyncGenerator<StampedRows> {
    const sql = named(
      `SELECT lane, first, count, stamp, checksum, meta, data FROM NAME_blocks
       WHERE lane = $1 AND first > $2 AND day = ANY($3::int[]) ORDER BY first LIMIT ${BLOCKS_AT_ONCE}`,
      this.#name,
    );
    for (const days of dayParts(lane, { after: 0, upTo: lane.newest }, 'oldest first')) {
      for (let last = 0; ; ) {
        const values = [lane.id, last, days];
        const { rows } = await this.#database.query<WholeBlock & { readonly stamp: number }>(sql, values);
        for (const row of rows) {
          const block = OpenBlock.of(row);
          const sources = await this.#sources.named(block.sources());
          yield { stamp: row.stamp, rows: block.rows(sources) };
          last = row.first;
        }
        if (rows.length < BLOCKS_AT_ONCE) break;
      }
    }
  }
}

/** Of lane 0. */
export function isOfFirstLane({ position }: CopiedMessage): boolean {
  return position < LANE_POSITIONS;
}
