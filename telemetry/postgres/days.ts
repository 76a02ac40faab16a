/** The days of a journal on PostgreSQL: their partitions, made before they are needed and removed by retention. */

import {
  isUniqueViolation,
  type PostgresDatabase,
  type PostgresTransaction,
  sqlstateOf,
} from '../../storage/postgres/index.ts';
import { type JournalName, named, PARTITIONED } from './tables.ts';

export const DAY_MS = 86_400_000;

/** Days since the epoch, UTC. */
export function dayNumber(time: number): number {
  return Math.floor(time / DAY_MS);
}

/** `YYYY-MM-DD`. */
export function dayName(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

export interface StoredDay {
  readonly day: number;
  /** Which devices' messages were removed from it; empty for none. */
  readonly removed: string;
  /** Of each lane that stored something on it. */
  readonly lanes: readonly LaneDay[];
}

export interface LaneDay {
  readonly lane: number;
  readonly first: number;
  readonly messages: number;
  readonly bytes: number;
}

/** duplicate_table: another node makes the same one. */
const IS_THERE = '42P07';

export class Days {
  readonly #database: PostgresDatabase;
  readonly #name: JournalName;
  readonly #known = new Set<number>();

  constructor(database: PostgresDatabase, name: JournalName) {
    this.#database = database;
    this.#name = name;
  }

  /** Makes the partitions of a day where there are none. */
  async prepare(day: number, when: 'unless known' | 'again' = 'unless known'): Promise<void> {
    if (when === 'again') this.#known.delete(day);
    for (const table of this.#known.has(day) ? [] : PARTITIONED) {
      try {
        await this.#database.execute(named(partition(table, day), this.#name));
      } catch (error) {
        if (!isUniqueViolation(error) && sqlstateOf(error) !== IS_THERE) throw error;
      }
    }
    this.#known.add(day);
  }

  /** Oldest first. */
  async list(): Promise<readonly StoredDay[]> {
    const { rows } = await this.#database.query<LaneDay & { readonly day: number; readonly removed: string }>(
      named(
        `SELECT day, lane, min(first) AS first, sum(messages)::bigint AS messages, sum(bytes)::bigint AS bytes,
           CASE WHEN min(removed) = max(removed) THEN min(removed) ELSE '' END AS removed
         FROM NAME_days GROUP BY day, lane ORDER BY day, lane`,
        this.#name,
      ),
    );
    return [...Map.groupBy(rows, ({ day }) => day)].map(([day, lanes]) => {
      const [{ removed } = { removed: '' }, ...others] = lanes;
      // What came to the day after messages were removed from it still has them.
      return { day, lanes, removed: others.every((lane) => lane.removed === removed) ? removed : '' };
    });
  }

  /** Removes a day with all of its messages. */
  async remove(day: number): Promise<void> {
    this.#known.delete(day);
    await this.#database.transaction(async (transaction) => {
      for (const table of PARTITIONED) {
        await transaction.query(named(`DROP TABLE IF EXISTS NAME_${table}_${day}`, this.#name));
      }
      await transaction.query(named('DELETE FROM NAME_days WHERE day = $1', this.#name), [day]);
    });
  }

  /** Makes the table that takes the place of a day's blocks at the end of this transaction. */
  async beginRewrite({ query }: PostgresTransaction, day: number): Promise<void> {
    await query(named(`CREATE TABLE NAME_blocks_${day}_left (LIKE NAME_blocks INCLUDING ALL)`, this.#name));
  }

  /** `values`: of the columns of a block, in their order. */
  async copyBlock({ query }: PostgresTransaction, day: number, values: readonly unknown[]): Promise<void> {
    const sql = `INSERT INTO NAME_blocks_${day}_left VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`;
    await query(named(sql, this.#name), values);
  }

  /** From here on nobody reads or writes the day until the transaction ends. Its runs are gone. Returns how many blocks it had. */
  async endRewrite({ query }: PostgresTransaction, day: number): Promise<number> {
    const execute = (sql: string) => query(named(sql, this.#name));
    await execute(`ALTER TABLE NAME_blocks DETACH PARTITION NAME_blocks_${day}`);
    const sql = named(`SELECT count(*)::int AS blocks FROM NAME_blocks_${day}`, this.#name);
    const { rows } = await query<{ readonly blocks: number }>(sql);
    await execute(`DROP TABLE NAME_blocks_${day}`);
    await execute(`ALTER TABLE NAME_blocks_${day}_left RENAME TO NAME_blocks_${day}`);
    await execute(
      `ALTER TABLE NAME_blocks ATTACH PARTITION NAME_blocks_${day} FOR VALUES FROM (${day}) TO (${day + 1})`,
    );
    await execute(`DROP TABLE IF EXISTS NAME_runs_${day}`);
    await execute(partition('runs', day));
    return rows[0]?.blocks ?? 0;
  }
}

function partition(table: (typeof PARTITIONED)[number], day: number): string {
  return `CREATE TABLE IF NOT EXISTS NAME_${table}_${day} PARTITION OF NAME_${table} FOR VALUES FROM (${day}) TO (${day + 1})`;
}
