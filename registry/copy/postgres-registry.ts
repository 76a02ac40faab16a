/** The registry on PostgreSQL as rows of its tables, for a copy from another engine or to it. No node uses it meanwhile. */

import { Problem } from '@rollcall/protocol';
import { migrate, type PostgresDatabase, type PostgresTransaction } from '../../storage/postgres/index.ts';
import { registryTables } from '../postgres/tables.ts';
import type { SqlValue } from '../transaction.ts';
import { type CopiedRow, type CopiedTable, type CopyOrder, ISSUE_ORDER, pagesOf } from './copied-table.ts';

/** Tables from which nodes may not delete (`postgres/migrations/0001_initial.sql`). */
const NEVER_REMOVED = ['audit', 'certificates', 'issuers'];

type ColumnTypes = ReadonlyMap<string, ReadonlyMap<string, string>>;

const COLUMNS = `SELECT table_name, column_name, data_type FROM information_schema.columns
  WHERE table_schema = $1 AND is_generated = 'NEVER'`;

export class PostgresRegistryRows {
  readonly #database: PostgresDatabase;
  readonly #types: ColumnTypes;

  /**
   * `to write`: makes the tables where there are none, and brings them to the newest version. `to count`: changes nothing. Throws Problem
   * `database_newer`, and what the database throws.
   */
  static async open(
    database: PostgresDatabase,
    access: 'to write' | 'to count' = 'to write',
  ): Promise<PostgresRegistryRows> {
    if (access === 'to write') await migrate(database, registryTables());
    const { rows } = await database.query<Readonly<Record<'table_name' | 'column_name' | 'data_type', string>>>(
      COLUMNS,
      [database.schema],
    );
    const types = new Map<string, Map<string, string>>();
    for (const { table_name: table, column_name: column, data_type: type } of rows) {
      types.set(table, (types.get(table) ?? new Map<string, string>()).set(column, type));
    }
    return new PostgresRegistryRows(database, types);
  }

  private constructor(database: PostgresDatabase, types: ColumnTypes) {
    this.#database = database;
    this.#types = types;
  }

  /** Throws Problem `database_newer` when the tables have other columns than those of this version's files. */
  expectColumnsOf(tables: readonly CopiedTable[]): void {
    for (const { name, columns } of tables) {
      const found = [...(this.#types.get(name)?.keys() ?? [])].sort();
      const expected = columns.toSorted();
      if (found.join() === expected.join()) continue;
      throw new Problem('database_newer', {
        reason: `expected the columns ${expected.join(', ')} of ${name}, found ${found.join(', ') || 'no such table'}`,
        hint: 'use the release of Rollcall that its nodes have',
      });
    }
  }

  /** Whether no fleet was ever stored here: whatever makes a row in another table is in the audit. */
  async isEmpty(): Promise<boolean> {
    const { count } = await this.#database.query('SELECT 1 FROM audit UNION ALL SELECT 1 FROM issuers LIMIT 1');
    return count === 0;
  }

  /** 0 of a table that is not there. */
  async count({ name }: CopiedTable): Promise<number> {
    if (!this.#types.has(name)) return 0;
    const { rows } = await this.#database.query<{ readonly rows: number }>(`SELECT count(*) AS rows FROM ${name}`);
    return rows[0]?.rows ?? 0;
  }

  pages(table: CopiedTable, order: CopyOrder): AsyncGenerator<readonly CopiedRow[]> {
    const ask = async (sql: string, values: readonly SqlValue[]) =>
      (await this.#database.query<CopiedRow>(numbered(sql), values)).rows;
    return pagesOf(table, ask, order);
  }

  /**
   * All or nothing: `write` adds all rows, in place of those that are there: an earlier copy was interrupted. It runs again from its
   * beginning when the connection was lost before the commit.
   */
  async fill(
    tables: readonly CopiedTable[],
    write: (insert: (table: CopiedTable, rows: readonly CopiedRow[]) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    await this.#database.transaction(
      async (transaction) => {
        await transaction.query(`GRANT DELETE ON ${NEVER_REMOVED.join(', ')} TO CURRENT_USER`);
        for (const { name } of tables.toReversed()) await transaction.query(`DELETE FROM ${name}`);
        await transaction.query(`REVOKE DELETE ON ${NEVER_REMOVED.join(', ')} FROM CURRENT_USER`);
        await write((table, rows) => this.#insert(transaction, table, rows));
        // What appends the next entry and gives the next certificate its order goes on from here.
        await transaction.query(`UPDATE audit_head SET (id, hash) = (SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1)
          WHERE EXISTS (SELECT 1 FROM audit)`);
        const { rows } = await transaction.query<{ readonly next: number }>(
          `SELECT coalesce(max(${ISSUE_ORDER}), 0) + 1 AS next FROM certificates`,
        );
        await transaction.query(
          `ALTER TABLE certificates ALTER COLUMN ${ISSUE_ORDER} RESTART WITH ${rows[0]?.next ?? 1}`,
        );
      },
      { isUnlimited: true },
    );
  }

  /** The broker of each node that has recorded devices as connected. */
  async brokersOnline(): Promise<readonly string[]> {
    const sql = 'SELECT DISTINCT broker FROM devices WHERE online = 1 AND broker IS NOT NULL';
    return (await this.#database.query<{ readonly broker: string }>(sql)).rows.map(({ broker }) => broker);
  }

  async #insert(transaction: PostgresTransaction, { name, columns }: CopiedTable, rows: readonly CopiedRow[]) {
    const types = this.#types.get(name);
    const arrays = columns.map((column, index) => `$${index + 1}::${types?.get(column)}[]`);
    await transaction.query(
      `INSERT INTO ${name} (${columns.join(', ')}) SELECT * FROM unnest(${arrays.join(', ')})`,
      columns.map((column) => rows.map((row) => row[column] ?? null)),
    );
  }
}

function numbered(sql: string): string {
  let number = 0;
  return sql.replaceAll('?', () => {
    number += 1;
    return `$${number}`;
  });
}
