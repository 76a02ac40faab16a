import { expect, it } from 'vitest';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { PostgresDatabase } from './database.ts';
import { expectUsableTables, type Migration, migrate, type TableSet } from './migrations.ts';

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
    await expectUsableTables(database, notes(FIRST));
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
    await expect(expectUsableTables(database, notes(FIRST, ADDS_A_COLUMN))).rejects.toMatchObject(refusal);
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
