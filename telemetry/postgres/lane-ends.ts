/**
 * Up to which message readers read each lane. Blocks of a lane are stored several at once, so that a later one may be there before an
 * earlier one. Readers read up to the first gap, and so never pass by a message that comes later.
 *
 * A slot of the lane belongs to one block from when it is sent until it and all blocks before it are stored, and names that block. Each
 * block says how far the lane was complete when it was sent. So slots name every block that is stored and comes after the greatest of these
 * numbers, and the lane is complete up to the last of them that follows without a gap.
 */

import type { PostgresDatabase, PostgresTransaction } from '../../storage/postgres/index.ts';
import { type JournalName, named } from './tables.ts';

/** Blocks of a lane that are stored at once. */
export const SLOTS = 4;

export interface LaneEnd {
  readonly lane: number;
  /** Number of the newest message that readers may read; 0 before the first. */
  readonly newest: number;
  /** Of the newest block, also of one that readers may not read yet. */
  readonly stamp: number;
}

/** A part of a statement: rows of `LaneEnd` under the name `ends`. */
export const LANE_ENDS = `
  complete AS (SELECT lane, max(settled) AS settled, max(stamp) AS stamp FROM NAME_slots GROUP BY lane),
  ahead AS (
    SELECT s.lane, s.first, s.last, lag(s.last, 1, c.settled) OVER (PARTITION BY s.lane ORDER BY s.first) AS previous
    FROM NAME_slots AS s JOIN complete AS c ON c.lane = s.lane WHERE s.last > c.settled
  ),
  ends AS (
    SELECT c.lane, c.stamp, coalesce(min(a.previous) FILTER (WHERE a.first <> a.previous + 1), max(a.last), c.settled) AS newest
    FROM complete AS c LEFT JOIN ahead AS a ON a.lane = c.lane GROUP BY c.lane, c.stamp, c.settled
  )`;

export async function readLaneEnds(
  database: Pick<PostgresDatabase, 'query'> | PostgresTransaction,
  name: JournalName,
): Promise<readonly LaneEnd[]> {
  const { rows } = await database.query<LaneEnd>(named(`WITH ${LANE_ENDS} SELECT lane, newest, stamp FROM ends`, name));
  return rows;
}
