import { expect, it } from 'vitest';
import { PollingWakes } from '../../storage/index.ts';
import { migrate } from '../../storage/postgres/index.ts';
import { silent } from '../../test/fixtures/journal.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { openPostgresRegistry } from '../open.ts';
import { registryTables } from './tables.ts';

describeWithClients('a registry on PostgreSQL', ['postgres'], () => {
  const postgres = suitePostgres();

  it('that cannot be opened leaves no connection open', async () => {
    const shared = await postgres().open();
    await migrate(shared, registryTables());
    await shared.execute(`UPDATE table_versions SET version = 99, oldest = 99 WHERE name = 'registry'`);
    const database = shared.apart({});
    const wakes = new PollingWakes(60_000);
    const opening = openPostgresRegistry({ database, wakes, node: 'a', now: Date.now, log: silent });
    await expect(opening).rejects.toMatchObject({ code: 'database_newer' });
    expect(database.usage.open).toBe(0);
    await wakes.close();
  });
});
