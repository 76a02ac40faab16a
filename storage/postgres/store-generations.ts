/**
 * The generations of a store: the first one begins with its tables, and another one each time an operator accepts that the database has gone back to
 * an earlier state. A node that has seen a later state than the database has finds here whether somebody knows of it.
 */

import { randomUUID } from 'node:crypto';
import type { PostgresDatabase } from './database.ts';
import type { TableSet } from './migrations.ts';

export const STORE_GENERATION_TABLES: TableSet = {
  name: 'store_generations',
  migrations: [
    {
      sql: `CREATE TABLE store_generations (
        number BIGINT PRIMARY KEY,
        id     TEXT COLLATE "C" NOT NULL,
        -- Milliseconds since the epoch.
        at     BIGINT NOT NULL
      )`,
      oldest: 1,
    },
  ],
};

export interface StoreGeneration {
  /** From 1 on, with gaps. */
  readonly number: number;
  /** Different for each, also for two of one number in two restored copies. */
  readonly id: string;
  readonly at: number;
}

/** Oldest first, at least one: the first is made here when there is none. Throws what the database throws. */
export async function readStoreGenerations(
  database: PostgresDatabase,
  now: number,
): Promise<readonly [StoreGeneration, ...StoreGeneration[]]> {
  for (;;) {
    const { rows } = await database.query<StoreGeneration>(
      'SELECT number, id, at FROM store_generations ORDER BY number',
    );
    const [first, ...later] = rows;
    if (first !== undefined) return [first, ...later];
    await addStoreGeneration(database, 1, now);
  }
}

/** Nothing when there is one of this number. */
export async function addStoreGeneration(database: PostgresDatabase, number: number, now: number): Promise<void> {
  await database.execute(
    'INSERT INTO store_generations (number, id, at) VALUES ($1, $2, $3) ON CONFLICT (number) DO NOTHING',
    [number, randomUUID(), now],
  );
}
