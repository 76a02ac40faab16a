/** What operators ask all nodes: each of three brokers over one PostgreSQL answers it the same. */

import { formatIdentity } from '@rollcall/protocol';
import { expect, it } from 'vitest';
import { ClusterNode } from '../../test/fixtures/broker/cluster-brokers.ts';
import { device, service } from '../../test/fixtures/broker/test-broker.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';

const ALL = { after: '', limit: 100 };
const NOBODY = { connect: [], publish: [], subscribe: [], receive: [], retain: [] };

describeWithClients('brokers over one PostgreSQL', ['postgres'], () => {
  const postgres = suitePostgres();

  async function start(options: Parameters<typeof ClusterNode.start>[2] = {}) {
    const database = await postgres().open();
    const a = await ClusterNode.start(database, 'a', options);
    const b = await ClusterNode.start(database, 'b', { like: a });
    const c = await ClusterNode.start(database, 'c', { like: a });
    const nodes = [a, b, c];
    for (const { cluster } of nodes) await cluster.nodes.look();
    return { a, b, c, nodes };
  }

  it('list the sessions of all, in pages, with the node of each, and end those of one identity', async () => {
    const { a, b, c, nodes } = await start();
    const connected: string[][] = [];
    for (let n = 1; n <= 7; n += 1) {
      const node = nodes[n % 3] as ClusterNode;
      await node.test.connectDevice(`dev-${n}`);
      connected.push([`dev-${n}`, node.name]);
    }
    const ops = await b.test.connectService('ops');
    connected.push(['ops', 'b']);
    const listed = (page: Awaited<ReturnType<typeof a.test.broker.sessionPage>>) =>
      page.sessions.map(({ clientId, node }) => [clientId, node]);

    for (const { test } of nodes) {
      const page = await test.broker.sessionPage(ALL);
      expect([listed(page), page.hasMore, page.unanswered]).toEqual([connected, false, []]);
      expect(listed(await test.broker.sessionPage({ ...ALL, node: 'b' }))).toEqual(
        connected.filter(([, node]) => node === 'b'),
      );
      expect(listed(await test.broker.sessionPage({ ...ALL, identity: device('dev-1') }))).toEqual([['dev-1', 'b']]);
      expect(listed(await test.broker.sessionPage({ ...ALL, identity: service('ops') }))).toEqual([['ops', 'b']]);
      expect(listed(await test.broker.sessionPage({ ...ALL, identity: device('away') }))).toEqual([]);
    }
    const inPages: string[][] = [];
    for (let hasMore = true; hasMore; ) {
      const page = await c.test.broker.sessionPage({ after: inPages.at(-1)?.[0] ?? '', limit: 3 });
      expect(page.sessions.length).toBeLessThanOrEqual(3);
      inPages.push(...listed(page));
      hasMore = page.hasMore;
    }
    expect(inPages).toEqual(connected);

    expect(await a.test.broker.disconnectEverywhere(service('ops'), 'operator')).toMatchObject({ sessionsClosed: 1 });
    await ops.closed;
    expect(listed(await a.test.broker.sessionPage(ALL))).toEqual(connected.slice(0, -1));
  });

  it('preview a policy for the sessions of all', async () => {
    const { a, b, c } = await start();
    await b.test.connectDevice('dev-1');
    await c.test.connectDevice('dev-2');
    const preview = await a.test.broker.previewPolicy('group/default' as never, NOBODY as never);
    expect(preview).toMatchObject({ sessions: 2, ended: 2, unanswered: [] });
    expect(preview.lost.map(({ clientId }) => clientId).toSorted()).toEqual(['dev-1', 'dev-2']);
  });

  it('ask no node whose release does not know the question, and name it', async () => {
    const { a, b, c } = await start({ answering: ['b'] });
    await b.test.connectDevice('dev-1');
    const page = await a.test.broker.sessionPage(ALL);
    expect([page.sessions.map(({ node }) => node), page.unanswered]).toEqual([['b'], ['c']]);
    expect([b.outdated, c.outdated]).toEqual([[], []]);
  });

  it('name a node that is heard and does not answer, and list the others', async () => {
    const { a, b } = await start();
    await a.test.connectDevice('dev-1');
    const reader = await b.test.connectDevice('dev-2');
    // It is heard, and reads no messages.
    await b.test.close();
    await reader.closed;
    const page = await a.test.broker.sessionPage(ALL);
    expect(page.unanswered).toEqual(['b']);
    expect(page.sessions.map(({ identity }) => formatIdentity(identity))).toEqual(['device/dev-1']);
  });
});
