/** A node that is lost with its connections: its sessions are released, and its clients come back to another node. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import { afterEach, expect, it } from 'vitest';
import { payloads } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start({ nodes: 2, ...options });
};
afterEach(() => testBroker?.close());

const command = 'devices/dev-1/commands/open/1';
const commands = { topic: 'devices/dev-1/commands/+/+', qos: 1 as const };
const persistent = { clientId: 'dev-1', clean: false };
const will = { topic: 'devices/dev-1/events/gone', payload: 'bye', qos: 1 as const };

it('the session of a lost node goes on with another one, and no command that was acknowledged is lost', async () => {
  await start();
  const credentials = testBroker.enroll(device('dev-1'));
  const first = await testBroker.session(credentials, persistent, 0);
  await first.subscribe(commands);
  const commander = await testBroker.session(
    testBroker.enroll({ kind: 'service', name: 'commander' as never }),
    {
      clientId: 'commander',
    },
    1,
  );
  const send = async (payload: string) => {
    await commander.publish(command, payload, { qos: 1 });
    expect(await commander.nextOf('puback')).toBeDefined();
  };
  await send('1');
  const received = await first.nextOf('publish');
  await send('2');
  await testBroker.nodes.lose(0);
  await testBroker.event('disconnected', ({ clientId }) => clientId === 'dev-1');
  expect(testBroker.nodes.nodes()).toMatchObject([{ name: 'n2', sessions: 1 }]);
  await send('3');
  const second = await testBroker.session(credentials, persistent, 1);
  expect(second.connack?.sessionPresent).toBe(true);
  const again = [await second.nextOf('publish'), await second.nextOf('publish'), await second.nextOf('publish')];
  expect(payloads(again as never)).toEqual(['1', '2', '3']);
  expect(again[0]).toMatchObject({ dup: true, messageId: received?.messageId });
});

it('the end of every session of a lost node is reported once, and its filters are forgotten', async () => {
  await start();
  const ids = ['dev-1', 'dev-2', 'dev-3'];
  for (const id of ids) {
    const client = await testBroker.session(testBroker.enroll(device(id)), { clientId: id }, 0);
    await client.subscribe(`devices/${id}/commands/+/+`);
  }
  await testBroker.nodes.lose(0);
  await waitUntil(() => testBroker.broker.sessions().length === 0);
  const ends = testBroker.events.filter(({ type }) => type === 'disconnected');
  expect(ends.map((end) => 'clientId' in end && end.clientId).sort()).toEqual(ids);
  expect(await testBroker.broker.reachability('dev-1', 'devices/dev-1/commands/a/1')).not.toMatchObject({
    isConnected: true,
  });
  expect(testBroker.broker.counters()).toMatchObject({ sessions: 0 });
});

it('the wills of the clients of a lost node are published', async () => {
  await start();
  const listener = await testBroker.session(
    testBroker.enroll({ kind: 'service', name: 'listener' as never }),
    {
      clientId: 'listener',
    },
    1,
  );
  await listener.subscribe({ topic: 'devices/+/events/+', qos: 1 });
  await testBroker.session(testBroker.enroll(device('dev-1')), { clientId: 'dev-1', will }, 0);
  await testBroker.nodes.lose(0);
  expect(await listener.nextOf('publish')).toMatchObject({ topic: will.topic, payload: Buffer.from('bye') });
});

it('a claim whose node is lost while it waits is released, and made again by another node', async () => {
  await start();
  const credentials = testBroker.enroll(device('dev-1'));
  const former = await testBroker.session(credentials, persistent, 1);
  await former.subscribe(commands);
  const held = testBroker.nodes.channels[1]?.hold('takeOver', { isDone: false });
  const waiting = await testBroker.open(credentials, undefined, 0);
  const connecting = waiting.connect(persistent);
  await waitUntil(() => held?.inputs.length === 1);
  await testBroker.nodes.lose(0);
  expect(await connecting).not.toBe(0);
  held?.release();
  await former.closed;
  const again = await testBroker.session(credentials, persistent, 1);
  expect(again.connack?.sessionPresent).toBe(true);
  await testBroker.broker.send({ topic: command, payload: Buffer.from('x'), qos: 1 });
  expect(await again.nextOf('publish')).toMatchObject({ payload: Buffer.from('x') });
  expect(testBroker.broker.sessions()).toHaveLength(1);
});

it('a client whose message waits for the delivery to a node goes on when that node is lost', async () => {
  await start({ limits: { inflight: 1 } });
  const listener = await testBroker.session(testBroker.enroll(device('dev-1')), persistent, 0);
  await listener.subscribe({ ...commands, qos: 0 });
  const credentials = testBroker.enroll({ kind: 'service', name: 'commander' as never });
  const commander = await testBroker.session(credentials, { clientId: 'commander' }, 1);
  const held = testBroker.nodes.channels[0]?.hold('deliver', { isDone: false });
  await commander.publish(command, '1', { qos: 1, messageId: 1 });
  expect(await commander.nextOf('puback')).toMatchObject({ messageId: 1 });
  await waitUntil(() => held?.inputs.length === 1);
  await commander.publish(command, '2', { qos: 1, messageId: 2 });
  for (let turn = 0; turn < 50; turn += 1) await nextTurn();
  expect(commander.packets.filter(({ cmd }) => cmd === 'puback')).toHaveLength(1);
  await testBroker.nodes.lose(0);
  expect(await commander.nextOf('puback')).toMatchObject({ messageId: 2 });
  held?.release();
});

it('the preview of a policy counts the sessions of the other nodes, and names the one that is lost meanwhile', async () => {
  await start();
  const ids = ['dev-1', 'dev-2'];
  for (const [node, id] of ids.entries()) {
    await testBroker.session(testBroker.enroll(device(id)), { clientId: id }, node);
  }
  const document = { ...DEFAULT_DEVICE_POLICY, connect: [] };
  const all = await testBroker.broker.previewPolicy('group/default', document);
  expect([all.sessions, all.ended, all.unanswered]).toEqual([2, 2, []]);
  const held = testBroker.nodes.channels[0]?.hold('previewPolicy', { isDone: false });
  const previewing = testBroker.broker.previewPolicy('group/default', document);
  await waitUntil(() => held?.inputs.length === 1);
  await testBroker.nodes.lose(0);
  expect(await previewing).toEqual({
    ...{ sessions: 1, ended: 1, subscriptionsLost: 0 },
    ...{ lost: [{ clientId: 'dev-2' }], unanswered: ['n1'] },
  });
  held?.release();
});

it('a subscription waits no longer for a node that is lost', async () => {
  await start();
  const client = await testBroker.session(testBroker.enroll(device('dev-1')), persistent, 1);
  const held = testBroker.nodes.channels[0]?.hold('routes', { isDone: false });
  const subscribing = client.subscribe(commands);
  await waitUntil(() => held?.inputs.length === 1);
  await testBroker.nodes.lose(0);
  expect(await subscribing).toEqual([1]);
  held?.release();
});
