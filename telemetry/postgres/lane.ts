/**
 * The lane of a node: what it stores in a journal, numbered 1, 2, 3, … A lease of the lane has an epoch; the process that takes the lane for the
 * same node again raises it, and from then on nothing of the lease before can be stored. Blocks behind a gap, which no reader has seen, are
 * removed with it.
 */

import { Problem } from '@rollcall/protocol';
import type { PostgresDatabase, PostgresTransaction, PreparedStatement } from '../../storage/postgres/index.ts';
import { isUniqueViolation, MARK_COLUMNS } from '../../storage/postgres/index.ts';
import { MOST_LANES } from '../position.ts';
import { readLaneEnds, SLOTS } from './lane-ends.ts';
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
export const BLOCK_OVERHEAD = 120;

export interface LeaseOptions {
  readonly node: string;
  /** Names this process: the same one may take its lane again, and another one takes it from it. */
  readonly holder: string;
  /** Numbers that are given to no message. */
  readonly leftOut?: number;
}

/** Raises the epoch of the node's lane, or makes the lane. Waits for writes of the lease before that are under way. */
export async function leaseLane(
  database: PostgresDatabase,
  name: JournalName,
  { node, holder, leftOut = 0 }: LeaseOptions,
): Promise<Lane> {
  for (;;) {
    try {
      return await database.transaction(async (transaction) => {
        const { rows } = await transaction.query<LeasedLane>(
          named('UPDATE NAME_lanes SET epoch = epoch + 1, holder = $2 WHERE node = $1 RETURNING id, epoch', name),
          [node, holder],
        );
        return endAtGap(transaction, name, rows[0] ?? (await makeLane(transaction, name, node, holder)), leftOut);
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error; // two new nodes at once
    }
  }
}

/**
 * A new epoch for a process that still has the lane: nothing that it sent before can be stored any more, and what is behind a gap is
 * removed. May be repeated. Throws `LaneLost`.
 */
export function leaseAgain(
  database: PostgresDatabase,
  name: JournalName,
  { id, holder }: { readonly id: number; readonly holder: string },
): Promise<Lane> {
  return database.transaction(async (transaction) => {
    const { rows } = await transaction.query<LeasedLane>(
      named('UPDATE NAME_lanes SET epoch = epoch + 1 WHERE id = $1 AND holder = $2 RETURNING id, epoch', name),
      [id, holder],
    );
    const [lane] = rows;
    if (lane === undefined) throw new LaneLost();
    return endAtGap(transaction, name, lane, 0);
  });
}

/**
 * Within a transaction: what a dead node has not stored when it commits, that node stores no more. Waits for writes under way. A process
 * that leases the lane of the node again can write.
 */
export async function fenceOffLane(transaction: PostgresTransaction, name: JournalName, node: string): Promise<void> {
  const { rows } = await transaction.query<LeasedLane>(
    named(`UPDATE NAME_lanes SET epoch = epoch + 1, holder = '' WHERE node = $1 RETURNING id, epoch`, name),
    [node],
  );
  const [lane] = rows;
  if (lane !== undefined) await endAtGap(transaction, name, lane, 0);
}

type LeasedLane = Pick<Lane, 'id' | 'epoch'>;

async function makeLane(
  transaction: PostgresTransaction,
  name: JournalName,
  node: string,
  holder: string,
): Promise<LeasedLane> {
  const { rows } = await transaction.query<{ readonly id: number }>(
    named('SELECT coalesce(max(id) + 1, 0) AS id FROM NAME_lanes', name),
  );
  const { id } = rows[0] as { readonly id: number };
  if (id >= MOST_LANES) throw new Problem('internal', { reason: `expected at most ${MOST_LANES} lanes` });
  await transaction.query(named('INSERT INTO NAME_lanes (id, node, epoch, holder) VALUES ($1, $2, 1, $3)', name), [
    ...[id, node, holder],
  ]);
  await transaction.query(named('INSERT INTO NAME_marks VALUES ($1, 0, 0)', name), [id]);
  return { id, epoch: 1 };
}

/** Sets the epoch of all slots, which waits for each write under way, and then decides where the lane ends. */
async function endAtGap(
  transaction: PostgresTransaction,
  name: JournalName,
  { id, epoch }: LeasedLane,
  leftOut: number,
): Promise<Lane> {
  await transaction.query(
    named(
      `INSERT INTO NAME_slots (lane, slot, epoch, first, last, settled, stamp)
       SELECT $1, slot, $2, 0, 0, 0, 0 FROM generate_series(0, ${SLOTS - 1}) AS slot
       ON CONFLICT (lane, slot) DO UPDATE SET epoch = excluded.epoch`,
      name,
    ),
    [id, epoch],
  );
  // A statement of its own: it sees what the writes have left for which the one before waited.
  const end = (await readLaneEnds(transaction, name)).find(({ lane }) => lane === id);
  const { newest = 0, stamp = 0 } = end ?? {};
  const { count } = await transaction.query(named('SELECT 1 FROM NAME_slots WHERE lane = $1 AND last > $2', name), [
    id,
    newest,
  ]);
  if (count > 0) await transaction.query(named(REMOVE_BEHIND, name), [id, newest]);
  const settled = newest + leftOut;
  await transaction.query(named('UPDATE NAME_slots SET first = 0, last = 0, settled = $2 WHERE lane = $1', name), [
    ...[id, settled],
  ]);
  return { id, epoch, newest: settled, stamp };
}

const REMOVE_BEHIND = `
  WITH gone AS (
    DELETE FROM NAME_blocks WHERE lane = $1 AND first > $2 RETURNING day, count, octet_length(meta) + octet_length(data) AS bytes
  ), sums AS (
    SELECT day, sum(count) AS messages, sum(bytes + ${BLOCK_OVERHEAD}) AS bytes FROM gone GROUP BY day
  )
  UPDATE NAME_days AS d SET messages = d.messages - s.messages, bytes = d.bytes - s.bytes
  FROM sums AS s WHERE d.lane = $1 AND d.day = s.day
    AND d.slot = (SELECT min(o.slot) FROM NAME_days AS o WHERE o.lane = d.lane AND o.day = d.day)`;

/** Where a block is stored, and how far the lane is complete when it is sent. */
export interface BlockPlace {
  readonly epoch: number;
  readonly slot: number;
  readonly settled: number;
}

export class LaneBlocks {
  readonly #database: PostgresDatabase;
  readonly #lane: number;
  readonly #store: PreparedStatement;

  constructor(database: PostgresDatabase, name: JournalName, lane: number) {
    this.#database = database;
    this.#lane = lane;
    const text = named(STORE, name);
    this.#store = { name: `${name}_store`, text: `${text} FROM own`, marked: `${text}, ${MARK_COLUMNS} FROM own` };
  }

  /**
   * Stores the block and its keys in one statement; the same block again changes nothing, and is confirmed all the same. Throws
   * `LaneLost`, and what the database throws: after `UnconfirmedCommit` it has to be repeated.
   */
  async store(block: StoredBlock, { devices, keys }: BlockKeys, { epoch, slot, settled }: BlockPlace): Promise<void> {
    const { day, first, count, stamp, oldestAt, newestAt, checksum, meta, data } = block;
    const { rows } = await this.#database.execute<{ readonly owned: number }>(this.#store, [
      this.#lane,
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
      slot,
      settled,
    ]);
    if (rows[0]?.owned !== 1) throw new LaneLost();
  }
}

/**
 * The slot is changed first, also when the block is there already. It is the fence: a lease that raises the epoch waits for it. And it
 * makes each repetition a commit of its own, for which the standbys confirm the block too.
 */
const STORE = `
  WITH own AS (
    UPDATE NAME_slots SET first = $5, last = $3, stamp = $4, settled = greatest(settled, $17)
    WHERE lane = $1 AND slot = $16 AND epoch = $2 RETURNING lane, slot
  ), stored AS (
    INSERT INTO NAME_blocks (lane, first, day, count, stamp, oldest_at, newest_at, checksum, meta, data)
    SELECT lane, $5::bigint, $6::int, $7::int, $4::bigint, $8::bigint, $9::bigint, $10::bigint, $11::bytea, $12::bytea FROM own
    ON CONFLICT DO NOTHING
    RETURNING lane
  ), counted AS (
    INSERT INTO NAME_days (day, lane, slot, first, last, messages, bytes)
    SELECT $6::int, own.lane, own.slot, $5::bigint, $3::bigint, $7::int, $13::bigint FROM own JOIN stored ON stored.lane = own.lane
    ON CONFLICT (day, lane, slot) DO UPDATE
      SET messages = NAME_days.messages + excluded.messages, bytes = NAME_days.bytes + excluded.bytes,
          first = least(NAME_days.first, excluded.first), last = greatest(NAME_days.last, excluded.last)
  ), keyed AS (
    INSERT INTO NAME_keys (device, key, day)
    SELECT k.device, k.key, $6::int FROM stored, unnest($14::text[], $15::text[]) AS k (device, key)
    ON CONFLICT DO NOTHING
  )
  SELECT count(*)::int AS owned`;
