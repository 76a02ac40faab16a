import { expect, it } from 'vitest';
import { publishNode } from '../../test/fixtures/next-release.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { PostgresDatabase } from './database.ts';
import { LEASE_TABLES } from './leases.ts';
import { expectNoNewerTables, expectUsableTables, type Migration, migrate, type TableSet } from './migrations.ts';
import { NODE_TABLES } from './node-records.ts';

const FIRST: Migration = { sql: 'CREATE TABLE notes (id BIGINT PRIMARY KEY); INSERT INTO notes VALUES (1)', oldest: 1 };
const ADDS_A_COLUMN: Migration = { sql: 'ALTER TABLE notes ADD COLUMN text TEXT COLLATE "C"', oldest: 1 };
const REMOVES_THE_ID: Migration = { sql: 'ALTER TABLE notes DROP COLUMN id', oldest: 3 };

function notes(...migrations: readonly Migration[]): TableSet {
  return { name: 'notes', migrations };
}

describeWithClients('tables with a version', ['postgres'], () => {
  const postgres = suitePostgres();

  it('are made once by nodes that start at once, in a schema that was not there', async () => {
    const settings = postgres().settings();
    const nodes = Array.from({ length: 4 }, () => new PostgresDatabase(settings));
    await postgres().primary.ask('GRANT CREATE ON DATABASE rollcall TO rollcall');
    const versions = await Promise.all(nodes.map((node) => migrate(node, notes(FIRST, ADDS_A_COLUMN))));
    expect(versions).toEqual(nodes.map(() => ({ version: 2, oldest: 1 })));
    const [node] = nodes as [PostgresDatabase];
    expect((await node.query('SELECT * FROM notes')).rows).toEqual([{ id: 1, text: null }]);
    await Promise.all(nodes.map((one) => one.close()));
  });

  it('are brought to a newer version, and are still used by code of the version before', async () => {
    const database = await postgres().open();
    await migrate(database, notes(FIRST));
    await migrate(database, notes(FIRST, ADDS_A_COLUMN));
    expect(await migrate(database, notes(FIRST))).toEqual({ version: 2, oldest: 1 });
    await expectUsableTables(database, [notes(FIRST)]);
    // All but a copy of its rows, which would lose what it does not know.
    await expect(expectNoNewerTables(database, [notes(FIRST)])).rejects.toMatchObject({ code: 'database_newer' });
    await expectNoNewerTables(database, [notes(FIRST, ADDS_A_COLUMN)]);
  });

  it('are refused to code that is too old for them, and not changed', async () => {
    const database = await postgres().open();
    await migrate(database, notes(FIRST, ADDS_A_COLUMN, REMOVES_THE_ID));
    const refusal = {
      code: 'database_newer',
      reason:
        'expected tables of notes that code of version 2 may use, found version 3, which needs code of version 3 or newer',
    };
    await expect(migrate(database, notes(FIRST, ADDS_A_COLUMN))).rejects.toMatchObject(refusal);
    await expect(expectUsableTables(database, [notes(FIRST, ADDS_A_COLUMN)])).rejects.toMatchObject(refusal);
  });

  it('are not changed for a newer release while a node runs that could not use them, and are once it has stopped', async () => {
    const database = await postgres().open();
    for (const tables of [LEASE_TABLES, NODE_TABLES, notes(FIRST)]) await migrate(database, tables);
    const stops = [
      await publishNode(database, 'a', { release: '0.1.0', tables: { notes: 2 } }),
      // Of a release that publishes no versions, and one that has only taken its lease.
      await publishNode(database, 'b', { release: '0.0.9' }),
      await publishNode(database, 'c'),
    ];
    await publishNode(database, 'd', { tables: { notes: 3 } });
    // What every node can use is changed under them.
    await migrate(database, notes(FIRST, ADDS_A_COLUMN));
    const next = notes(FIRST, ADDS_A_COLUMN, REMOVES_THE_ID);
    await expect(migrate(database, next)).rejects.toMatchObject({
      code: 'upgrade_blocked',
      reason: expect.stringMatching(
        /^version 3 of the tables of notes needs code of version 3 or newer, .* older code: a \(release 0.1.0\b.*\), b \(release 0.0.9\b.*\), c \(release unknown\b.*\)$/,
      ),
    });
    expect((await database.query('SELECT id FROM notes')).rows).toEqual([{ id: 1 }]);
    for (const stop of stops) await stop();
    expect(await migrate(database, next)).toEqual({ version: 3, oldest: 3 });
  });

  it('are not changed while a node counts as running that was killed, and the refusal says until when', async () => {
    const database = await postgres().open();
    for (const tables of [LEASE_TABLES, NODE_TABLES, notes(FIRST)]) await migrate(database, tables);
    await publishNode(database, 'a', { release: '0.1.0', tables: { notes: 1 } });
    const { rows } = await database.query<{ until: number }>(
      'UPDATE leases SET renewed_at = renewed_at - 5000 RETURNING renewed_at + 30000 AS until',
    );
    const until = new Date(rows[0]?.until ?? 0).toISOString();
    await expect(migrate(database, notes(FIRST, { ...ADDS_A_COLUMN, oldest: 2 }))).rejects.toMatchObject({
      code: 'upgrade_blocked',
      reason: expect.stringContaining(`: a (release 0.1.0; not heard now, and counts as running until ${until})`),
    });
  });

  it('are changed once a transaction that uses them has ended, and others are not kept waiting for it meanwhile', async () => {
    const database = await postgres().open();
    await migrate(database, notes(FIRST));
    const [reading, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const copy = database.transaction(
      async (transaction) => {
        await transaction.query('SELECT * FROM notes');
        reading.resolve();
        await ended.promise;
      },
      { isUnlimited: true },
    );
    await reading.promise;
    const next = notes(FIRST, ADDS_A_COLUMN);
    await expect(migrate(database, next, { tries: 2, againAfter: 1 })).rejects.toMatchObject({
      code: 'unavailable',
      reason: expect.stringContaining('a transaction uses them all the time'),
    });
    const migrated = migrate(database, next, { againAfter: 1 });
    const waiting = `SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
    await expect.poll(() => postgres().primary.ask(waiting)).toEqual([{ waiting: 1 }]);
    expect((await database.query('SELECT id FROM notes')).rows).toEqual([{ id: 1 }]);
    ended.resolve();
    await copy;
    expect(await migrated).toEqual({ version: 2, oldest: 1 });
  });

  it('are looked at by a node that starts only after a migration of another one has ended', async () => {
    const database = await postgres().open();
    const current = notes(FIRST, ADDS_A_COLUMN);
    await migrate(database, current);
    const made = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    const migration = database.transaction(async (transaction) => {
      await transaction.query(`UPDATE table_versions SET version = 3, oldest = 3 WHERE name = 'notes'`);
      made.resolve();
      await ended.promise;
    });
    await made.promise;
    const found = expect(expectUsableTables(database, [current])).rejects.toMatchObject({ code: 'database_newer' });
    const waiting = `SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
    await expect.poll(() => postgres().primary.ask(waiting)).toEqual([{ waiting: 1 }]);
    ended.resolve();
    await Promise.all([migration, found]);
  });

  it('stay at their version when a migration fails', async () => {
    const database = await postgres().open();
    await migrate(database, notes(FIRST));
    const broken = {
      sql: 'ALTER TABLE notes ADD COLUMN text TEXT; ALTER TABLE absent ADD COLUMN text TEXT',
      oldest: 1,
    };
    await expect(migrate(database, notes(FIRST, broken))).rejects.toMatchObject({ code: 'internal' });
    expect(await migrate(database, notes(FIRST))).toEqual({ version: 1, oldest: 1 });
    expect((await database.query('SELECT * FROM notes')).rows).toEqual([{ id: 1 }]);
  });

  it('are refused with the message of the server where the role may not create them', async () => {
    const settings = postgres().settings();
    await postgres().primary.ask(`CREATE SCHEMA ${settings.schema}`);
    await postgres().primary.ask(`GRANT USAGE ON SCHEMA ${settings.schema} TO rollcall`);
    const database = new PostgresDatabase(settings);
    await expect(migrate(database, notes(FIRST))).rejects.toMatchObject({
      code: 'database_access_refused',
      reason: `42501: permission denied for schema ${settings.schema}`,
    });
    await database.close();
  });
});
