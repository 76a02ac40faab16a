/** Rules for the tables of every module on PostgreSQL: they keep to what Citus, YugabyteDB and CockroachDB have as well. */

import { pino } from 'pino';
import { expect, it } from 'vitest';
import { SESSION_TABLES } from '../broker/cluster/tables.ts';
import { openPostgresRegistry } from '../registry/open.ts';
import { PollingWakes } from '../storage/index.ts';
import {
  CURSOR_TABLES,
  LEASE_TABLES,
  migrate,
  NODE_TABLES,
  STORE_GENERATION_TABLES,
} from '../storage/postgres/index.ts';
import { openPostgresTelemetry } from '../telemetry/postgres/open.ts';
import { suitePostgres } from './fixtures/postgres-cluster.ts';
import { describeWithClients } from './fixtures/real-client.ts';

describeWithClients('the tables on PostgreSQL', ['postgres'], () => {
  const postgres = suitePostgres();

  it('order texts by bytes, have times as numbers, and need neither triggers nor functions', async () => {
    const database = await postgres().open();
    const schema = database.schema;
    const log = pino({ level: 'silent' });
    const wakes = new PollingWakes(60_000);
    const registry = await openPostgresRegistry({ database: database.apart({}), wakes, node: 'a', now: Date.now, log });
    const telemetry = await openPostgresTelemetry({ database, journal: 'telemetry', node: 'a', now: Date.now, log });
    const sets = [LEASE_TABLES, NODE_TABLES, CURSOR_TABLES, SESSION_TABLES, STORE_GENERATION_TABLES];
    for (const tables of sets) await migrate(database, tables);
    const { primary } = postgres();
    const found = async (sql: string) => (await primary.ask<{ name: string }>(sql, [schema])).map(({ name }) => name);
    // What is compared or ordered has an index; other texts may have any collation.
    const indexes = await found(
      `SELECT indexrelid::regclass::text AS name FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
       WHERE relnamespace = $1::regnamespace AND EXISTS (
         SELECT FROM unnest(indcollation) AS used WHERE used NOT IN (0, 'pg_catalog."C"'::regcollation))`,
    );
    const times = await found(
      `SELECT table_name || '.' || column_name AS name FROM information_schema.columns
       WHERE table_schema = $1 AND (data_type LIKE 'time%' OR data_type IN ('date', 'interval'))`,
    );
    const triggers = await found(
      'SELECT trigger_name AS name FROM information_schema.triggers WHERE trigger_schema = $1',
    );
    const functions = await found(
      'SELECT routine_name AS name FROM information_schema.routines WHERE routine_schema = $1',
    );
    expect({ indexes, times, triggers, functions }).toEqual({ indexes: [], times: [], triggers: [], functions: [] });
    expect((await found('SELECT tablename AS name FROM pg_tables WHERE schemaname = $1')).length).toBeGreaterThan(20);
    await telemetry.close();
    await registry.close();
    await wakes.close();
  });
});
