/** What a store says of itself while a fleet moves into it, and after the fleet has moved away: one row, or none. */

import type { PostgresDatabase } from './database.ts';
import type { TableSet } from './migrations.ts';

export const STORE_NOTE_TABLES: TableSet = {
  name: 'store_note',
  migrations: [
    {
      sql: `CREATE TABLE store_note (
        id        INTEGER PRIMARY KEY CHECK (id = 1),
        state     TEXT COLLATE "C" NOT NULL,
        migration TEXT COLLATE "C" NOT NULL,
        other     TEXT NOT NULL,
        at        BIGINT NOT NULL
      )`,
      oldest: 1,
    },
  ],
};

export interface StoreNote {
  /** `receiving`: not all of a fleet is here yet. `moved`: it is no longer here, and what is left is for a fall-back. */
  readonly state: 'receiving' | 'moved';
  /** The same on both sides of one migration. */
  readonly migration: string;
  /** The store from which the fleet comes, or to which it went, as a person names it. Holds no secret. */
  readonly other: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Undefined without one. Throws what the database throws. */
export async function readStoreNote(database: PostgresDatabase): Promise<StoreNote | undefined> {
  return (await database.query<StoreNote>('SELECT state, migration, other, at FROM store_note WHERE id = 1')).rows[0];
}

export async function writeStoreNote(database: PostgresDatabase, note: StoreNote): Promise<void> {
  await database.execute(
    `INSERT INTO store_note (id, state, migration, other, at) VALUES (1, $1, $2, $3, $4)
     ON CONFLICT (id) DO UPDATE SET
       state = excluded.state, migration = excluded.migration, other = excluded.other, at = excluded.at`,
    [note.state, note.migration, note.other, note.at],
  );
}

export async function removeStoreNote(database: PostgresDatabase): Promise<void> {
  await database.execute('DELETE FROM store_note');
}
