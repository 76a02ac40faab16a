/**
 * The lane of a node: what it stores in a journal, numbered 1, 2, 3, … A lease of the lane has an epoch; the process that takes the lane for the
 * same node again raises it, and from then on nothing of the lease before can be stored.
 */

import { Problem } from '@rollcall/protocol';
import type { PostgresDatabase, PreparedStatement } from '../../storage/postgres/index.ts';
import { isUniqueViolation } from '../../storage/postgres/index.ts';
import { MOST_LANES } from '../position.ts';
import { type JournalName, named } from './tables.ts';

export interface Lane {
  readonly id: number;
  readonly epoch: number;
  /** Number of its newest message; 0 before the first. */
  readonly newest: number;
  readonly stamp: number;
}

export interface StoredBlock {
  readonly day: number;
  /** Number of its first message. */
  readonly first: number;
  readonly count: number;
  readonly stamp: number;
  readonly oldestAt: number;
  readonly newestAt: number;
  readonly checksum: number;
  readonly meta: Buffer;
  readonly data: Buffer;
}

/** Keys of messages of a block that are no counted ones: devices, and their keys. */
export interface BlockKeys {
  readonly devices: readonly string[];
  readonly keys: readonly string[];
}

/** Another process has the lane now. Nothing of this lease can be stored any more. */
export class LaneLost extends Problem {
  constructor() {
    super('unavailable', { reason: 'expected the lease of the lane of this node, found a newer one' });
  }
}

/** Bytes that a block takes beside `meta` and `data`. */
const BLOCK_OVERHEAD = 120;

/**
 * Raises the epoch of the node's lane, or makes the lane. Waits for a write of the lease before that is under way. `leftOut`: numbers
 * that are given to no message.
 */
export async function leaseLane(
  database: PostgresDatabase,
  name: JournalName,
  { node, leftOut = 0 }: { readonly node: string; readonly leftOut?: number },
): Promise<Lane> {
  for (;;) {
    try {
      return await database.transaction(async (transaction) => {
        const raised = await transaction.query<Lane>(
          named(
            `UPDATE NAME_lanes SET epoch = epoch + 1, newest = newest + $2 WHERE node = $1
             RETURNING id, epoch, newest, stamp`,
            name,
          ),
          [node, leftOut],
        );
        const found = raised.rows[0];
        if (found !== undefined) return found;
        const { rows } = await transaction.query<{ readonly id: number }>(
          named('SELECT coalesce(max(id) + 1, 0) AS id FROM NAME_lanes', name),
        );
        const { id } = rows[0] as { readonly id: number };
        if (id >= MOST_LANES) throw new Problem('internal', { reason: `expected at most ${MOST_LANES} lanes` });
        await transaction.query(named('INSERT INTO NAME_lanes VALUES ($1, $2, 1, 0, 0)', name), [id, node]);
        await transaction.query(named('INSERT INTO NAME_marks VALUES ($1, 0, 0)', name), [id]);
        return { id, epoch: 1, newest: 0, stamp: 0 };
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error; // two new nodes at once
    }
  }
}

export class LaneBlocks {
  readonly #database: PostgresDatabase;
  readonly #lane: Lane;
  readonly #store: PreparedStatement;

  constructor(database: PostgresDatabase, name: JournalName, lane: Lane) {
    this.#database = database;
    this.#lane = lane;
    this.#store = { name: `${name}_store`, text: named(STORE, name) };
  }

  /**
   * Stores the block and its keys in one statement; the same block again changes nothing, and is confirmed all the same. Throws
   * `LaneLost`, and what the database throws: after `UnconfirmedCommit` it has to be repeated.
   */
  async store(block: StoredBlock, { devices, keys }: BlockKeys): Promise<void> {
    const { id, epoch } = this.#lane;
    const { day, first, count, stamp, oldestAt, newestAt, checksum, meta, data } = block;
    const { rows } = await this.#database.execute<{ readonly owned: number }>(this.#store, [
      id,
      epoch,
      first + count - 1,
      stamp,
      first,
      day,
      count,
      oldestAt,
      newestAt,
      checksum,
      meta,
      data,
      meta.length + data.length + BLOCK_OVERHEAD,
      devices,
      keys,
    ]);
    if (rows[0]?.owned !== 1) throw new LaneLost();
  }
}

/**
 * The row of the lane is changed first, also when the block is there already. It is the fence: a lease that raises the epoch waits for
 * it. And it makes each repetition a commit of its own, for which the standbys confirm the block too.
 */
const STORE = `
  WITH own AS (
    UPDATE NAME_lanes SET newest = $3, stamp = $4 WHERE id = $1 AND epoch = $2 RETURNING id
  ), stored AS (
    INSERT INTO NAME_blocks (lane, first, day, count, stamp, oldest_at, newest_at, checksum, meta, data)
    SELECT id, $5::bigint, $6::int, $7::int, $4::bigint, $8::bigint, $9::bigint, $10::bigint, $11::bytea, $12::bytea FROM own
    ON CONFLICT DO NOTHING
    RETURNING lane
  ), counted AS (
    INSERT INTO NAME_days (day, lane, first, last, messages, bytes)
    SELECT $6::int, lane, $5::bigint, $3::bigint, $7::int, $13::bigint FROM stored
    ON CONFLICT (day, lane) DO UPDATE
      SET messages = NAME_days.messages + excluded.messages, bytes = NAME_days.bytes + excluded.bytes,
          first = least(NAME_days.first, excluded.first), last = greatest(NAME_days.last, excluded.last)
  ), keyed AS (
    INSERT INTO NAME_keys (device, key, day)
    SELECT k.device, k.key, $6::int FROM stored, unnest($14::text[], $15::text[]) AS k (device, key)
    ON CONFLICT DO NOTHING
  )
  SELECT count(*)::int AS owned FROM own`;
