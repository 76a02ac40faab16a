/** What lanes have stored, and on which days: so that a query touches the partitions that can have what it seeks, and no others. */

import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { LANE_ENDS } from './lane-ends.ts';
import { type JournalName, named } from './tables.ts';

export interface LaneState {
  readonly id: number;
  /** Number of its newest message that may be read. */
  readonly newest: number;
  /** Up to which message runs are complete. */
  readonly indexed: number;
  /** In the order of their last messages. Where a clock went back, days overlap. */
  readonly days: readonly DayRange[];
}

interface DayRange {
  readonly day: number;
  /** Numbers of its first and its last message in the lane. */
  readonly first: number;
  readonly last: number;
}

export type ReadingOrder = 'oldest first' | 'newest first';

/** Days whose partitions one statement reads. */
const DAYS_AT_ONCE = 4;

type StateRow = Omit<LaneState, 'days'> & { readonly [name in keyof DayRange]: DayRange[name] | null };

export async function readLaneStates(database: PostgresDatabase, name: JournalName): Promise<readonly LaneState[]> {
  const sql = `WITH ${LANE_ENDS}
    SELECT m.lane AS id, e.newest, m.indexed, d.day, min(d.first) AS first, max(d.last) AS last FROM NAME_marks AS m
    JOIN ends AS e ON e.lane = m.lane LEFT JOIN NAME_days AS d ON d.lane = m.lane
    GROUP BY m.lane, e.newest, m.indexed, d.day ORDER BY m.lane, max(d.last)`;
  const { rows } = await database.query<StateRow>(named(sql, name));
  return [...Map.groupBy(rows, ({ id }) => id)].map(([id, of]) => {
    const { newest, indexed } = of[0] as StateRow;
    return { id, newest, indexed, days: of.filter((row): row is StateRow & DayRange => row.day !== null) };
  });
}

/** The days that have messages after one number and up to another, some at a time; no later part has anything between two earlier ones. */
export function dayParts(
  { days }: Pick<LaneState, 'days'>,
  { after, upTo }: { readonly after: number; readonly upTo: number },
  order: ReadingOrder,
): readonly (readonly number[])[] {
  const wanted = days.filter(({ first, last }) => last > after && first <= upTo);
  const parts: number[][] = [];
  let part: number[] = [];
  for (const [index, { day, last }] of wanted.entries()) {
    part.push(day);
    const begins = wanted.slice(index + 1).map(({ first }) => first);
    if (part.length < DAYS_AT_ONCE || Math.min(...begins) <= last) continue;
    parts.push(part);
    part = [];
  }
  if (part.length > 0) parts.push(part);
  return order === 'oldest first' ? parts : parts.toReversed();
}
