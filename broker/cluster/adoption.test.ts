/** What a dead node leaves: one node adopts it, and messages for it find their sessions wherever these are by then. */

import { expect, it } from 'vitest';
import { ClusterNode } from '../../test/fixtures/broker/cluster-brokers.ts';
import { device } from '../../test/fixtures/broker/test-broker.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { MOST_NODES } from './cluster-nodes.ts';

const topic = 'devices/dev-1/commands/now/1';
const subscription = { topic: 'devices/dev-1/commands/+/+', qos: 1 } as const;
const persistent = { clientId: 'dev-1', clean: false };

describeWithClients('what a dead node leaves', ['postgres'], () => {
  const postgres = suitePostgres();

  /** Node `a` has begun to adopt what node `dead` has. */
  async function start() {
    const database = await postgres().open();
    const a = await ClusterNode.start(database, 'a');
    const [b, dead] = await Promise.all([
      ClusterNode.start(database, 'b', { like: a }),
      ClusterNode.start(database, 'dead', { like: a }),
    ]);
    const { epoch, number } = a.cluster.nodes;
    const adopter = epoch * MOST_NODES + number;
    await database.execute(`INSERT INTO node_cursors VALUES ('dead', '/adopter', $1)`, [adopter]);
    const claims = async () =>
      (await database.query<{ client_id: string; node: string }>('SELECT client_id, node FROM session_claims')).rows;
    return { database, a, b, dead, claims };
  }

  it('is adopted by one node alone as long as that lives', async () => {
    const { a, b, dead, claims } = await start();
    const ids = Array.from({ length: 10 }, (_, n) => `dev-${n}`);
    for (const clientId of ids) {
      await dead.test.session(a.test.enroll(device(clientId)), { clientId, clean: false });
    }
    await dead.loseName();
    await expect.poll(() => b.cluster.nodes.find('dead')?.isAlive).toBe(false);
    expect(await b.cluster.nodes.fenceOff(b.cluster.nodes.find('dead') as never)).toBeUndefined();
    await expect.poll(async () => (await claims()).map(({ node }) => node)).toEqual(ids.map(() => 'a'));
  });

  it('reaches a session that had moved to another node before', async () => {
    const { database, a, b, dead } = await start();
    // It leaves something, so that it is adopted.
    await dead.test.session(a.test.enroll(device('dev-2')), { clientId: 'dev-2', clean: false });
    const credentials = a.test.enroll(device('dev-1'));
    const first = await dead.test.session(credentials, persistent);
    await first.subscribe(subscription);
    const reader = await b.test.session(credentials, persistent);
    await first.closed;
    await dead.loseName();
    const epoch = async () =>
      (await database.query<{ epoch: number }>(`SELECT epoch FROM session_nodes WHERE name = 'dead'`)).rows[0]?.epoch;
    await expect.poll(epoch).toBe(2); // It is fenced off, and stores nothing more itself.
    // A node that did not know yet where the session is has sent it to the dead one.
    const message = { topic, qos: 1, retain: false, properties: null };
    const about = JSON.stringify({ kind: 'message', message, owner: 'service/ops' });
    await database.execute(`INSERT INTO node_messages VALUES ('dead', 'sender', 1, $1, $2)`, [
      about,
      Buffer.from('late'),
    ]);
    expect(await reader.nextOf('publish')).toMatchObject({ payload: Buffer.from('late') });
  });
});
