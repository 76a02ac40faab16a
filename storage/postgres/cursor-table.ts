/** Positions up to which readers have read, by name: a row each. What `CursorFile` is for one machine. */

import type { PostgresDatabase, PostgresTransaction } from './database.ts';
import type { TableSet } from './migrations.ts';

export const CURSOR_TABLES: TableSet = {
  name: 'cursors',
  migrations: [
    {
      sql: `CREATE TABLE cursors (
        name  TEXT COLLATE "C" PRIMARY KEY,
        value TEXT COLLATE "C" NOT NULL
      )`,
      oldest: 1,
    },
  ],
};

const READ = { name: 'read cursor', text: 'SELECT value FROM cursors WHERE name = $1' };
const SAVE = {
  name: 'save cursor',
  text: 'INSERT INTO cursors (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
};

/** Of all readers, by name, as texts: for a copy to another store. */
export async function readCursors(database: PostgresDatabase): Promise<ReadonlyMap<string, string>> {
  const { rows } = await database.query<{ readonly name: string; readonly value: string }>(
    'SELECT name, value FROM cursors ORDER BY name',
  );
  return new Map(rows.map(({ name, value }) => [name, value]));
}

/** In place of all that are there, while no node reads. */
export async function writeCursors(database: PostgresDatabase, cursors: ReadonlyMap<string, string>): Promise<void> {
  await database.transaction(async (transaction) => {
    await transaction.query('DELETE FROM cursors');
    for (const [name, value] of cursors) await transaction.query(SAVE, [name, value]);
  });
}

export interface CursorRowOptions<Value> {
  readonly database: PostgresDatabase;
  readonly name: string;
  /** Undefined for text that is no cursor. */
  readonly parse: (text: string) => Value | undefined;
  /** Called in each transaction that saves: throws when another node has the reader now. */
  readonly fence: (transaction: PostgresTransaction) => Promise<void>;
}

/** The position of one reader. Throws what the database throws. */
export class CursorRow<Value> {
  readonly #options: CursorRowOptions<Value>;
  #value: Value | undefined;

  static async open<Value>(options: CursorRowOptions<Value>): Promise<CursorRow<Value>> {
    const { rows } = await options.database.query<{ readonly value: string }>(READ, [options.name]);
    const [found] = rows;
    const value = found && options.parse(found.value);
    if (found !== undefined && value === undefined) {
      throw new RangeError(`expected a position of ${options.name}, found ${found.value.length} other characters`);
    }
    return new CursorRow(options, value);
  }

  private constructor(options: CursorRowOptions<Value>, value: Value | undefined) {
    this.#options = options;
    this.#value = value;
  }

  /** Undefined before the first one is saved. */
  read(): Value | undefined {
    return this.#value;
  }

  /** Resolves when it is stored. */
  async save(value: Value): Promise<void> {
    const { database, name, fence } = this.#options;
    await database.transaction(async (transaction) => {
      await fence(transaction);
      await transaction.query(SAVE, [name, `${value}`]);
    });
    this.#value = value;
  }
}
