/** The days of a journal on PostgreSQL: their partitions, made before they are needed and removed by retention. */

import type { PostgresDatabase, PostgresTransaction } from '../../storage/postgres/index.ts';
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

/**
 * What removes a day waits for all that use the table of all days, such as a copy of the database that is being made, and all others wait
 * behind it meanwhile: not for long. The next run of retention tries again.
 */
const GIVE_WAY = `SET LOCAL lock_timeout = '1s'`;

export class Days {
  readonly #database: PostgresDatabase;
  readonly #name: JournalName;
  readonly #known = new Set<number>();

  constructor(database: PostgresDatabase, name: JournalName) {
    this.#database = database;
    this.#name = name;
  }

  /** Makes the partitions of a day where there are none. Nobody who reads or writes other days waits for it, nor is waited for. */
  async prepare(day: number, when: 'unless known' | 'again' = 'unless known'): Promise<void> {
    if (when === 'again') this.#known.delete(day);
    for (const table of this.#known.has(day) ? [] : PARTITIONED) {
      if (await this.#has(table, day)) continue;
      try {
        await this.#database.transaction((transaction) => this.#makePartition(transaction, table, day));
      } catch (error) {
        // Another node has made it at the same time, which the server tells in several ways.
        if (!(await this.#has(table, day))) throw error;
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
      await transaction.query(GIVE_WAY);
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
    await query(GIVE_WAY);
    await execute(`ALTER TABLE NAME_blocks DETACH PARTITION NAME_blocks_${day}`);
    const sql = named(`SELECT count(*)::int AS blocks FROM NAME_blocks_${day}`, this.#name);
    const { rows } = await query<{ readonly blocks: number }>(sql);
    await execute(`DROP TABLE NAME_blocks_${day}`);
    await execute(`ALTER TABLE NAME_blocks_${day}_left RENAME TO NAME_blocks_${day}`);
    await execute(attached('blocks', day));
    await execute(`DROP TABLE IF EXISTS NAME_runs_${day}`);
    await this.#makePartition({ query }, 'runs', day);
    return rows[0]?.blocks ?? 0;
  }

  async #has(table: (typeof PARTITIONED)[number], day: number): Promise<boolean> {
    const sql = `SELECT to_regclass('NAME_${table}_${day}') IS NOT NULL AS is_there`;
    const { rows } = await this.#database.query<{ readonly is_there: boolean }>(named(sql, this.#name));
    return rows[0]?.is_there === true;
  }

  /** CREATE TABLE ... PARTITION OF would wait for all that use the table of all days, and all of them behind it. */
  async #makePartition(
    { query }: PostgresTransaction,
    table: (typeof PARTITIONED)[number],
    day: number,
  ): Promise<void> {
    await query(named(`CREATE TABLE NAME_${table}_${day} (LIKE NAME_${table} INCLUDING ALL)`, this.#name));
    await query(named(attached(table, day), this.#name));
  }
}

function attached(table: (typeof PARTITIONED)[number], day: number): string {
  return `ALTER TABLE NAME_${table} ATTACH PARTITION NAME_${table}_${day} FOR VALUES FROM (${day}) TO (${day + 1})`;
}
