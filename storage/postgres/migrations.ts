/**
 * Tables with a version. Each module states its own as a list of SQL texts, one a version, which never change once released. Several
 * nodes that start at once apply each of them once. Two neighbouring releases run on the same tables while a fleet is upgraded: each
 * version says which code may still use them.
 */

import { Problem } from '@rollcall/protocol';
import type { PostgresDatabase, PostgresTransaction } from './database.ts';
import { sqlstateOf } from './postgres-problem.ts';

export interface Migration {
  /** From the version before to this one. Names tables without a schema. */
  readonly sql: string;
  /** The oldest version whose code works on the tables as they are now: its own where they cannot be used by earlier code. */
  readonly oldest: number;
}

export interface TableSet {
  /** As the table of versions and a refusal name it: `registry`. */
  readonly name: string;
  /** The first one makes version 1. */
  readonly migrations: readonly Migration[];
}

export interface TableVersion {
  /** 0 without any tables. */
  readonly version: number;
  /** The oldest version whose code may use them. */
  readonly oldest: number;
}

const VERSIONS =
  'CREATE TABLE IF NOT EXISTS table_versions (name TEXT COLLATE "C" PRIMARY KEY, version INTEGER NOT NULL, oldest INTEGER NOT NULL)';

/** What two sessions that make the same thing at once can find: unique_violation in a catalogue, duplicate_schema, duplicate_table. */
const MADE_MEANWHILE = /^(23505|42P06|42P07)$/;

/**
 * Brings the tables to the version of this code, or leaves them at a newer one that this code may use. Returns what they have then.
 * Throws Problem `database_newer` when it may not, `database_access_refused` when it may not create them, and what the database throws.
 */
export async function migrate(database: PostgresDatabase, tables: TableSet): Promise<TableVersion> {
  checkTableSet(tables);
  await createVersions(database);
  return database.transaction(
    async (transaction) => {
      await transaction.query(
        'INSERT INTO table_versions (name, version, oldest) VALUES ($1, 0, 0) ON CONFLICT (name) DO NOTHING',
        [tables.name],
      );
      // The row is the lock: a second node waits here until the first has committed.
      const found = await versionOf(transaction, tables.name, 'FOR UPDATE');
      expectUsable(tables, found);
      const missing = tables.migrations.slice(found.version);
      const last = missing.at(-1);
      if (last === undefined) return found;
      for (const { sql } of missing) await transaction.query(sql);
      const now = { version: tables.migrations.length, oldest: last.oldest };
      await transaction.query('UPDATE table_versions SET version = $2, oldest = $3 WHERE name = $1', [
        tables.name,
        now.version,
        now.oldest,
      ]);
      return now;
    },
    { isUnlimited: true },
  );
}

/** For a node that runs: throws Problem `database_newer` once its code may no longer use the tables. */
export async function expectUsableTables(database: PostgresDatabase, tables: TableSet): Promise<void> {
  expectUsable(tables, await versionOf(database, tables.name));
}

async function createVersions(database: PostgresDatabase): Promise<void> {
  const { rows } = await database.query(`SELECT to_regclass('table_versions') AS found`);
  if (rows[0]?.found !== null) return;
  for (;;) {
    try {
      await database.transaction(async (transaction) => {
        // CREATE SCHEMA IF NOT EXISTS asks for the right to create one, also where it exists.
        const schema = await transaction.query('SELECT 1 FROM pg_namespace WHERE nspname = $1', [database.schema]);
        if (schema.count === 0) await transaction.query(`CREATE SCHEMA ${database.schema}`);
        await transaction.query(VERSIONS);
      });
      return;
    } catch (error) {
      if (!MADE_MEANWHILE.test(sqlstateOf(error))) throw error;
    }
  }
}

async function versionOf(
  source: Pick<PostgresTransaction, 'query'>,
  name: string,
  lock: 'FOR UPDATE' | '' = '',
): Promise<TableVersion> {
  const sql = `SELECT version, oldest FROM table_versions WHERE name = $1 ${lock}`;
  const { rows } = await source.query<TableVersion>(sql, [name]);
  return rows[0] ?? { version: 0, oldest: 0 };
}

function expectUsable({ name, migrations }: TableSet, { version, oldest }: TableVersion): void {
  if (oldest <= migrations.length) return;
  throw new Problem('database_newer', {
    reason:
      `expected tables of ${name} that code of version ${migrations.length} may use, found version ${version}, ` +
      `which needs code of version ${oldest} or newer`,
    hint: 'upgrade this node; a node runs with tables of its own release and of the next one',
  });
}

/** What one version made unusable for old code, a later one does not make usable again. */
function checkTableSet({ name, migrations }: TableSet): void {
  migrations.forEach(({ oldest }, index) => {
    const version = index + 1;
    if (!Number.isInteger(oldest) || oldest < 1 || oldest > version) {
      throw new RangeError(`migration ${version} of ${name}: expected an oldest version from 1 to ${version}`);
    }
    if (oldest < (migrations[index - 1]?.oldest ?? 1)) {
      throw new RangeError(`migration ${version} of ${name}: expected no older version than the migration before it`);
    }
  });
}
