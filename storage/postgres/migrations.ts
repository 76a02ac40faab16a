/**
 * Tables with a version. Each module states its own as a list of SQL texts, one a version, which never change once released. Several
 * nodes that start at once apply each of them once. Two neighbouring releases run on the same tables while a fleet is upgraded: each
 * version says which code may still use them, and is not made while a node runs whose code may not.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import type { PostgresDatabase, PostgresTransaction } from './database.ts';
import { describeNode, whenNodesSettle } from './fleet-protocol.ts';
import { readLiveNodes } from './live-nodes.ts';
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

/**
 * How long a change of a table waits for transactions that use it, such as a copy of the database that is being made: all others wait behind
 * it meanwhile, heartbeats too. Then it gives way, and tries again a little later.
 */
const LOCKED_WITHIN = '500ms';
const AGAIN_AFTER_MS = 2_000;
const TRIES = 15;
/** lock_not_available */
const IN_USE = '55P03';

/** What two sessions that make the same thing at once can find: unique_violation in a catalogue, duplicate_schema, duplicate_table. */
const MADE_MEANWHILE = /^(23505|42P06|42P07)$/;

/**
 * Brings the tables to the version of this code, or leaves them at a newer one that this code may use. Returns what they have then.
 * Throws Problem `database_newer` when it may not, `upgrade_blocked` when a node runs that could not use them afterwards,
 * `database_access_refused` when it may not create them, `unavailable` when somebody uses a table all the time, and what the database throws.
 *
 * A node calls this, or `expectUsableTables()`, after it has its lease: either it finds the new version, or it is found here.
 */
export async function migrate(
  database: PostgresDatabase,
  tables: TableSet,
  { tries = TRIES, againAfter = AGAIN_AFTER_MS }: { readonly tries?: number; readonly againAfter?: number } = {},
): Promise<TableVersion> {
  checkTableSet(tables);
  await createVersions(database);
  for (let left = tries - 1; ; left -= 1) {
    try {
      return await whenNodesSettle('upgrade_blocked', () => migrateOnce(database, tables));
    } catch (error) {
      if (sqlstateOf(error) !== IN_USE) throw error;
      if (left <= 0) throw inUse(tables, error);
    }
    await delay(againAfter);
  }
}

function migrateOnce(database: PostgresDatabase, tables: TableSet): Promise<TableVersion> {
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
      // Nobody uses tables that are not there.
      if (found.version > 0 && last.oldest > found.oldest) await expectNoOlderNode(transaction, tables, last.oldest);
      await transaction.query(`SET LOCAL lock_timeout = '${LOCKED_WITHIN}'`);
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

/**
 * Waits for a migration that another node is making. Throws Problem `database_newer` when this code may no longer use one of these tables,
 * and what the database throws.
 */
export async function expectUsableTables(database: PostgresDatabase, sets: readonly TableSet[]): Promise<void> {
  await database.transaction(async (transaction) => {
    for (const tables of sets) expectUsable(tables, await versionOf(transaction, tables.name, 'FOR SHARE'));
  });
}

/** For a copy of all rows, which would lose what newer tables have. Throws Problem `database_newer`, and what the database throws. */
export async function expectNoNewerTables(database: PostgresDatabase, sets: readonly TableSet[]): Promise<void> {
  for (const { name, migrations } of sets) {
    const { version } = await versionOf(database, name);
    if (version <= migrations.length) continue;
    throw new Problem('database_newer', {
      reason: `expected tables of ${name} of version ${migrations.length} or older, found version ${version}`,
      hint: 'use the release of Rollcall that its nodes have',
    });
  }
}

/** For a reader that makes nothing. Throws what the database throws. */
export async function hasTables(database: PostgresDatabase, { name }: Pick<TableSet, 'name'>): Promise<boolean> {
  return (await hasVersions(database)) && (await versionOf(database, name)).version > 0;
}

/** The version of the code of this release for each of them, as its nodes publish it. */
export function versionsOf(sets: readonly TableSet[]): Readonly<Record<string, number>> {
  return Object.fromEntries(sets.map(({ name, migrations }) => [name, migrations.length]));
}

async function createVersions(database: PostgresDatabase): Promise<void> {
  if (await hasVersions(database)) return;
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

async function hasVersions(database: PostgresDatabase): Promise<boolean> {
  const { rows } = await database.query(`SELECT to_regclass('table_versions') AS found`);
  return rows[0]?.found !== null;
}

async function versionOf(
  source: Pick<PostgresTransaction, 'query'>,
  name: string,
  lock: 'FOR UPDATE' | 'FOR SHARE' | '' = '',
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

async function expectNoOlderNode(
  transaction: PostgresTransaction,
  { name, migrations }: TableSet,
  oldest: number,
): Promise<void> {
  const nodes = await readLiveNodes(transaction);
  // One that does not publish its version may have any.
  const older = nodes.filter(({ tables }) => (tables[name] ?? 0) < oldest);
  if (older.length === 0) return;
  throw new Problem('upgrade_blocked', {
    reason:
      `version ${migrations.length} of the tables of ${name} needs code of version ${oldest} or newer, ` +
      `and these nodes run with older code: ${older.map(describeNode).join(', ')}`,
    hint:
      'stop these nodes, then start this one: this upgrade cannot be made one node after the other; one that was killed is in the way until ' +
      'the time that is named',
  });
}

function inUse({ name }: TableSet, cause: unknown): Problem {
  return new Problem('unavailable', {
    reason: `the tables of ${name} were not changed: a transaction uses them all the time, such as one that copies the database`,
    hint: 'start this node again once it has ended; pg_stat_activity names it',
    cause,
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
