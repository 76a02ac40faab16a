/** Two servers with one store on PostgreSQL that wake each other over NATS: real processes, which lose NATS and get it back. */

import { expect, it } from 'vitest';
import { sharedStore } from '../fixtures/cluster-node.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { natsServer } from '../fixtures/nats-server.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const STARTS_MS = 180_000;

describeWithClients('two nodes that wake each other over NATS', ['postgres', 'nats-server'], () => {
  const postgres = suitePostgres();

  it(
    'end the sessions of a revoked device on both, also while NATS is gone and after it is back, and use no LISTEN',
    async () => {
      const nats = await natsServer(temporaryDirectory());
      const store = await sharedStore(postgres());
      const environment = { ROLLCALL_STORE_WAKES_URL: `nats://127.0.0.1:${nats.port}` };
      const a = await store.node('a', { environment });
      const b = await store.node('b', { like: a, environment });
      const revokedElsewhere = async (device: string) => {
        const session = await connectMqtt(b.reached(await a.enroll(device)));
        const ended = closed(session);
        await a.operator.revokeDevices({ ids: [device], reason: 'keyCompromise' });
        await ended;
        // Also of a node that confirms later than the order waits for it.
        const shown = () => a.operator.showDevice({ id: device });
        await expect.poll(shown).toMatchObject({ lastChange: { nodes: byBoth } });
      };
      const byBoth = ['a', 'b'].map((name) => ({ name, state: 'confirmed' }));
      await revokedElsewhere('pump-1');

      await nats.kill();
      await Promise.all([a, b].map(({ server }) => server.untilLogged('the connection for wakes was lost')));
      await revokedElsewhere('pump-2');

      await nats.start();
      await Promise.all([a, b].map(({ server }) => server.untilLogged('the connection for wakes is there again')));
      await revokedElsewhere('pump-3');
      const listening = `SELECT count(*)::int AS count FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`;
      expect(await postgres().primary.ask(listening)).toEqual([{ count: 0 }]);
    },
    STARTS_MS,
  );
});
