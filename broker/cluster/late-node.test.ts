/** What a node learns that starts while others serve, and one that others took for dead for a moment. */

import { expect, it } from 'vitest';
import { ClusterNode } from '../../test/fixtures/broker/cluster-brokers.ts';
import { device } from '../../test/fixtures/broker/test-broker.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';

const state = (n: number) => `devices/dev-${n}/twin/desired`;

const payloads = (packets: readonly { readonly cmd: string; readonly payload?: unknown }[]) =>
  packets.filter(({ cmd }) => cmd === 'publish').map(({ payload }) => String(payload));

describeWithClients('a node that starts while others serve', ['postgres'], () => {
  const postgres = suitePostgres();

  it('sends messages to the members of shared subscriptions that other nodes have already', async () => {
    const database = await postgres().open();
    const a = await ClusterNode.start(database, 'a');
    const reader = await a.test.connectService('ops', { clientId: 'ops-1' });
    await reader.subscribe({ topic: '$share/g/devices/+/events/+', qos: 1 });
    const late = await ClusterNode.start(database, 'late', { like: a });
    const writer = await late.test.session(a.test.enroll(device('dev-1')), { clientId: 'dev-1' });
    await writer.publish('devices/dev-1/events/door', 'open', { qos: 1, messageId: 1 });
    await writer.settled();
    await expect.poll(() => payloads(reader.packets)).toEqual(['open']);
  });

  it('has every message that others retain meanwhile', async () => {
    const database = await postgres().open();
    const a = await ClusterNode.start(database, 'a');
    let isOpen = false;
    const starting = ClusterNode.start(database, 'late', { like: a }).finally(() => {
      isOpen = true;
    });
    let count = 0;
    while (!isOpen) {
      await a.test.broker.retain(state(count), Buffer.from('x'));
      count += 1;
    }
    const late = await starting;
    await expect.poll(() => late.test.broker.counters().retained).toBe(count);
  });
});
