/** The clock of the database, which all nodes compare their leases with. */

import type { PostgresDatabase } from './database.ts';

/** Of a statement: milliseconds since the epoch, also within a transaction that began earlier. */
export const DATABASE_NOW = '(extract(epoch FROM clock_timestamp()) * 1000)::bigint';

const READ = { name: 'read clock', text: `SELECT ${DATABASE_NOW} AS now` };
const TRIES = 3;

export interface ClockSkew {
  /** The database's clock minus the one of this node, ms. */
  readonly skew: number;
  /** The true one differs by this much at most, ms: half of the round trip, and 1 for the rounding. */
  readonly uncertainty: number;
}

/** The best of three tries. Throws what the database throws. */
export async function measureClockSkew(database: PostgresDatabase, now: () => number = Date.now): Promise<ClockSkew> {
  let best: ClockSkew | undefined;
  for (let tries = 0; tries < TRIES; tries += 1) {
    const sent = now();
    const { rows } = await database.query<{ now: number }>(READ);
    const received = now();
    const half = (received - sent) / 2;
    const found = { skew: (rows[0]?.now ?? 0) - (sent + half), uncertainty: half + 1 };
    if (best === undefined || found.uncertainty < best.uncertainty) best = found;
  }
  return best as ClockSkew;
}
