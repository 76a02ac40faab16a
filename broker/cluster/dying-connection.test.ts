/** A connection that has ended while it waits for its session: it takes the session from no other one. */

import { expect, it } from 'vitest';
import { ClusterNode } from '../../test/fixtures/broker/cluster-brokers.ts';
import { connectPacket } from '../../test/fixtures/broker/raw-client.ts';
import { device } from '../../test/fixtures/broker/test-broker.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';

const persistent = { clientId: 'dev-1', clean: false };

describeWithClients('a connection that waits for its session', ['postgres'], () => {
  const postgres = suitePostgres();

  it('gives its claim up when it ends, and the live session of another node goes on', async () => {
    const database = await postgres().open();
    const a = await ClusterNode.start(database, 'a');
    const b = await ClusterNode.start(database, 'b', { like: a });
    const c = await ClusterNode.start(database, 'c', { like: a });
    const credentials = a.test.enroll(device('dev-1'));
    const first = await a.test.session(credentials, persistent);
    // Node a gives the session to nobody before that.
    const storing = Promise.withResolvers<void>();
    a.stored.promise = storing.promise;
    const dying = await b.test.open(credentials);
    dying.send(connectPacket(persistent));
    const requests = async () =>
      (await database.query<{ node: string }>('SELECT node FROM session_requests ORDER BY node')).rows.map(
        ({ node }) => node,
      );
    await expect.poll(requests).toEqual(['b']);
    await first.closed;
    const connecting = c.test.session(credentials, persistent);
    await expect.poll(requests).toEqual(['b', 'c']);
    dying.socket.destroy();
    await expect.poll(() => b.test.broker.counters().sessions).toBe(0); // Its claim is given up.
    storing.resolve();
    // What node a gave to b, as it had been asked, node c asks b for.
    const live = await connecting;
    await expect.poll(requests).toEqual([]);
    expect(await live.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 })).toEqual([1]);
    expect((await database.query('SELECT node FROM session_claims')).rows).toEqual([{ node: 'c' }]);
    expect(c.test.broker.counters().sessions).toBe(1);
  });
});
