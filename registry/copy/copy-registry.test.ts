/** A registry is moved to the other engine and back: with every table that the schema has, also one that is added later. */

import { join } from 'node:path';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { PollingWakes } from '../../storage/index.ts';
import { device, RegistryFixture } from '../../test/behaviour/registry-fixture.ts';
import { fillRegistry } from '../../test/fixtures/full-registry.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openPostgresRegistry, openRegistry } from '../open.ts';
import { registryTables } from '../postgres/tables.ts';
import { auditFault, copyRegistry, digestRegistry } from './copy-registry.ts';
import { PostgresRegistryRows } from './postgres-registry.ts';
import { SqliteRegistryRows } from './sqlite-registry.ts';

const log = pino({ level: 'silent' });

/** What one of several nodes needs, and a file does not have. */
const OF_NODES = [
  'registry_locks',
  'audit_head',
  'registry_changes',
  'change_confirmations',
  'node_tokens',
  'joined_nodes',
];

describeWithClients('a registry that is copied to another engine', ['postgres'], () => {
  const postgres = suitePostgres();

  it('has the same rows in every table there and back, and goes on from them', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'registry.db');
    let now = () => 0;
    const fleet = await RegistryFixture.open(async (clock) => {
      now = clock;
      const registry = await openRegistry({ file, now, log });
      return { registry, reopen: async () => registry };
    });
    const token = await fillRegistry(fleet);
    await fleet.registry.close();

    const source = new SqliteRegistryRows(file);
    const tables = source.tables();
    const before = await digestRegistry(source, tables);
    expect(Object.entries(before).filter(([, { rows }]) => rows === 0)).toEqual([]);
    const database = await postgres().open();
    const shared = await PostgresRegistryRows.open(database);
    shared.expectColumnsOf(tables);
    expect(await shared.isEmpty()).toBe(true);
    await copyRegistry(source, shared, tables);
    source.close();
    expect(await digestRegistry(shared, tables)).toEqual(before);
    expect(await auditFault(shared, tables)).toBeUndefined();
    expect(await shared.isEmpty()).toBe(false);

    const wakes = new PollingWakes(60_000);
    const moved = await openPostgresRegistry({ database: database.apart({}), wakes, node: 'a', now, log });
    fleet.registry = moved;
    expect(await moved.verifyAudit()).toMatchObject({ fault: undefined });
    expect(await moved.findToken(token)).toMatchObject({ uses: 1, maxUses: 2 });
    await fleet.enroll('press-2');
    await moved.revokeDevices([device('press-1')], 'superseded', 'operator/local');
    expect(await moved.verifyAudit()).toMatchObject({ fault: undefined });
    await moved.close();
    await wakes.close();

    const later = await digestRegistry(shared, tables);
    const target = new SqliteRegistryRows(join(directory, 'back.db'));
    await copyRegistry(shared, target, tables);
    expect(await digestRegistry(target, tables)).toEqual(later);
    target.close();
    const back = await openRegistry({ file: join(directory, 'back.db'), now, log });
    fleet.registry = back;
    await fleet.enroll('press-3');
    expect(await back.verifyAudit()).toMatchObject({ fault: undefined });
    await back.close();
  });

  it('leaves nothing in a target whose copy failed', async () => {
    const source = new SqliteRegistryRows(join(temporaryDirectory(), 'registry.db'));
    const tables = source.tables();
    const shared = await PostgresRegistryRows.open(await postgres().open());
    const failing = copyRegistry(source, shared, tables, () => {}).then(() =>
      shared.fill(tables, async (insert) => {
        const [audit] = tables.filter(({ name }) => name === 'audit');
        if (audit === undefined) throw new Error('expected the table of the audit');
        const entry = { id: 1, at: 1, actor: 'x', action: 'x', subject: 'x', outcome: 'done', details: '{}' };
        await insert(audit, [{ ...entry, hash: '0'.repeat(64) }]);
        throw new Error('the source is gone');
      }),
    );
    await expect(failing).rejects.toThrow('the source is gone');
    expect(await shared.isEmpty()).toBe(true);
    source.close();
  });

  it('knows of every table of either engine', () => {
    const source = new SqliteRegistryRows(join(temporaryDirectory(), 'registry.db'));
    const ofFiles = source.tables().map(({ name }) => name);
    source.close();
    const made = registryTables().migrations.flatMap(({ sql }) =>
      [...sql.matchAll(/^CREATE TABLE (\w+)/gm)].map(([, name]) => name),
    );
    expect(made.toSorted()).toEqual([...ofFiles, ...OF_NODES].toSorted());
  });
});
