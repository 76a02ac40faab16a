/** The registry in an SQLite file as rows of its tables, for a copy to another engine. */

import type Database from 'better-sqlite3';
import { openDatabaseToRead } from '../../storage/index.ts';
import { openRegistryFile } from '../sqlite/sqlite-database.ts';
import { type CopiedRow, type CopiedTable, type CopyOrder, ISSUE_ORDER, pagesOf } from './copied-table.ts';

/** Tables whose rows the schema itself has made: a copy replaces them. */
const MADE_WITH_THE_SCHEMA: readonly string[] = ['counters'];

interface ColumnInfo {
  readonly name: string;
  /** Place in the primary key, from 1 on; 0 for none. */
  readonly pk: number;
  /** 2 and 3: generated. */
  readonly hidden: number;
}

interface Reference {
  readonly table: string;
  readonly from: string;
}

/** The caller closes it. Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export class SqliteRegistryRows {
  readonly #database: Database.Database;

  /** `to write`: creates the file when there is none, and brings it to the newest schema. `to count`: changes nothing. */
  constructor(file: string, access: 'to write' | 'to count' = 'to write') {
    this.#database = access === 'to write' ? openRegistryFile(file) : openDatabaseToRead(file);
  }

  count({ name }: CopiedTable): number {
    return this.#all<{ rows: number }>(`SELECT count(*) AS rows FROM ${name}`)[0]?.rows ?? 0;
  }

  /** Each after those that its rows refer to. */
  tables(): readonly CopiedTable[] {
    const names = this.#all<{ name: string }>(
      `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name`,
    ).map(({ name }) => name);
    const references = new Map(names.map((name) => [name, this.#pragma<Reference>(`foreign_key_list(${name})`)]));
    const sorted: string[] = [];
    const add = (name: string) => {
      if (sorted.includes(name)) return;
      for (const { table } of references.get(name) ?? []) if (table !== name) add(table);
      sorted.push(name);
    };
    for (const name of names) add(name);
    return sorted.map((name) => this.#table(name, references.get(name) ?? []));
  }

  pages(table: CopiedTable, order: CopyOrder): AsyncGenerator<readonly CopiedRow[]> {
    return pagesOf(table, (sql, values) => this.#database.prepare(sql).all(...values) as CopiedRow[], order);
  }

  /** All or nothing, on disk when it resolves: `write` adds rows of tables that are empty but for those made with the schema. */
  async fill(
    _tables: readonly CopiedTable[],
    write: (insert: (table: CopiedTable, rows: readonly CopiedRow[]) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const database = this.#database;
    database.exec('BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON');
    try {
      for (const name of MADE_WITH_THE_SCHEMA) database.exec(`DELETE FROM ${name}`);
      await write(async ({ name, columns }, rows) => {
        const places = columns.map(() => '?').join(', ');
        const insert = database.prepare(`INSERT INTO ${name} (${columns.join(', ')}) VALUES (${places})`);
        for (const row of rows) insert.run(...columns.map((column) => row[column] ?? null));
      });
      database.exec('COMMIT');
    } catch (error) {
      if (database.inTransaction) database.exec('ROLLBACK');
      throw error;
    }
  }

  close(): void {
    this.#database.close();
  }

  #table(name: string, references: readonly Reference[]): CopiedTable {
    const columns = this.#pragma<ColumnInfo>(`table_xinfo(${name})`);
    const key = columns.filter(({ pk }) => pk > 0).sort((a, b) => a.pk - b.pk);
    const named = columns.filter(({ hidden }) => hidden === 0).map((column) => column.name);
    return {
      name,
      columns: name === 'certificates' ? [ISSUE_ORDER, ...named] : named,
      key: key.map((column) => column.name),
      parent: references.find(({ table }) => table === name)?.from,
    };
  }

  #all<Row>(sql: string): readonly Row[] {
    return this.#database.prepare(sql).all() as Row[];
  }

  #pragma<Row>(text: string): readonly Row[] {
    return this.#database.pragma(text) as Row[];
  }
}
