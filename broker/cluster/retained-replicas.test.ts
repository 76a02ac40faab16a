/** Retained messages of one topic that several nodes write at once. */

import { expect, it } from 'vitest';
import { ClusterNode } from '../../test/fixtures/broker/cluster-brokers.ts';
import { device } from '../../test/fixtures/broker/test-broker.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';

const topic = 'devices/dev-1/twin/desired';
const ROUNDS = 20;

describeWithClients('retained messages of several nodes', ['postgres'], () => {
  const postgres = suitePostgres();

  async function start() {
    const database = await postgres().open();
    const a = await ClusterNode.start(database, 'a');
    const b = await ClusterNode.start(database, 'b', { like: a });
    const stored = async () => {
      const { rows } = await database.query<{ payload: Buffer }>('SELECT payload FROM session_retained');
      return rows.map(({ payload }) => String(payload));
    };
    return { a, b, stored };
  }

  it('are the same everywhere in the end, also when two nodes retain or remove one at once', async () => {
    const { a, b, stored } = await start();
    for (let round = 0; round < ROUNDS; round += 1) {
      const payload = (node: string) => Buffer.from(round % 4 === 3 && node === 'b' ? '' : `${node}${round}`);
      await Promise.all([a.test.broker.retain(topic, payload('a')), b.test.broker.retain(topic, payload('b'))]);
      const known = async ({ test }: ClusterNode) => {
        const found = await test.broker.retained(topic);
        return found === undefined ? [] : [String(found)];
      };
      await expect.poll(async () => [await known(a), await known(b)]).toEqual([await stored(), await stored()]);
    }
  });

  it('are replaced by one node after the other: what each has read is what it replaces', async () => {
    const { a, b } = await start();
    const add = (node: ClusterNode) =>
      node.test.broker.replaceRetained(topic, device('dev-1'), (present) =>
        Buffer.from(String(Number(present?.toString() ?? '0') + 1)),
      );
    await Promise.all(Array.from({ length: ROUNDS }, () => [a, b].map(add)).flat());
    for (const { test } of [a, b]) {
      await expect.poll(async () => String(await test.broker.retained(topic))).toBe(String(2 * ROUNDS));
    }
  });

  it('that were replaced reach the subscribers of all nodes, and come after what was there', async () => {
    const { a, b } = await start();
    await a.test.broker.retain(topic, Buffer.from('old'));
    await expect.poll(async () => String(await b.test.broker.retained(topic))).toBe('old');
    const readers = [
      await a.test.connectDevice('dev-1'),
      await b.test.session(a.test.enroll({ kind: 'service', name: 'ops' as never }), { clientId: 'ops-1' }),
    ];
    for (const reader of readers) await reader.subscribe({ topic, qos: 1 });
    await a.test.broker.replaceRetained(topic, device('dev-1'), () => Buffer.from('new'));
    for (const reader of readers) {
      const received = [await reader.nextOf('publish'), await reader.nextOf('publish')];
      expect(received.map((packet) => String(packet?.payload))).toEqual(['old', 'new']);
    }
  });
});
