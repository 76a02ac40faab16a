/** The registry on PostgreSQL: the behaviour of every registry, and what only a database of several nodes can do wrong. */

import { expect, it } from 'vitest';
import { registryBehaviour } from '../../test/behaviour/registry.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { PostgresRegistries } from '../../test/fixtures/postgres-registry.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';

describeWithClients('the registry on PostgreSQL', ['postgres'], () => {
  const registries = new PostgresRegistries(suitePostgres());

  registryBehaviour('PostgreSQL', async (now) => {
    const registry = await registries.openEmpty({ now });
    return {
      registry,
      reopen: async () => {
        await registry.close();
        return registries.open({ now });
      },
    };
  });

  it('is not opened by code that is too old for its tables', async () => {
    const registry = await registries.openEmpty();
    await registries.ask((schema) => `UPDATE ${schema}.table_versions SET version = 99, oldest = 98`);
    await expect(registries.open()).rejects.toMatchObject({ code: 'database_newer' });
    await registries.ask((schema) => `UPDATE ${schema}.table_versions SET version = 2, oldest = 2`);
    await registry.close();
  });
});
