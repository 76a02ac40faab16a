/** Telemetry on PostgreSQL: the behaviour of every journal. */

import { telemetryBehaviour } from '../../test/behaviour/telemetry.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { openNode } from '../../test/fixtures/postgres-journal.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';

describeWithClients('telemetry in a database', ['postgres'], () => {
  const postgres = suitePostgres();

  telemetryBehaviour('PostgreSQL', async () => {
    const database = await postgres().open();
    // So few that the tests read runs and the blocks behind them.
    const marks = { index: 700, keys: 2 };
    const telemetry = await openNode(database, 'a', { marks });
    return {
      telemetry,
      reopen: async () => {
        await telemetry.close();
        return openNode(database, 'a', { marks });
      },
    };
  });
});
