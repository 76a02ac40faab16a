/** The registry on PostgreSQL: the behaviour of every registry. */

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
});
