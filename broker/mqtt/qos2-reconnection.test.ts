/** QoS 2 from clients that come back in the middle of it: each message once, and none taken for another. */

import type { Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { manualStorage } from '../../test/fixtures/broker/manual-storage.ts';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { payloads } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

const telemetry = 'devices/dev-1/telemetry/temp';

const publish = (payload: string, messageId: number, more: { dup?: boolean; topic?: string } = {}): Packet => {
  return { cmd: 'publish', topic: telemetry, payload, qos: 2, messageId, retain: false, dup: false, ...more };
};

async function released(client: RawClient, messageId: number): Promise<void> {
  client.send({ cmd: 'pubrel', messageId });
  expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId });
}

describe('a message of QoS 2', () => {
  it('that is sent again on a new connection, while it is being stored, is one message', async () => {
    const { waiting, count, accept } = manualStorage();
    testBroker = await TestBroker.start({ accept });
    const listener = await testBroker.connectService('listener');
    await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    first.send(publish('a', 4));
    await count(1);
    const second = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    second.send(publish('a', 4, { dup: true }));
    await count(2);
    const [sent, again] = waiting.map(({ message }) => message);
    expect(sent?.key).toMatch(/^\/.+/);
    expect(again?.key).toBe(sent?.key);
    for (const { resolve } of waiting) resolve();
    expect(await second.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
    await released(second, 4);
    second.send(publish('b', 4));
    await count(3);
    expect(waiting[2]?.message.key).not.toBe(sent?.key);
    waiting[2]?.resolve();
    expect(await second.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
    expect(payloads(await listener.settled())).toEqual(['a', 'b']);
  });

  it.each([['clean', true] as const, ['persistent', false] as const])(
    'of a %s session that is over is not taken for one of the clean session after it',
    async (_, clean) => {
      const { waiting, count, accept } = manualStorage();
      testBroker = await TestBroker.start({ accept });
      const credentials = testBroker.enroll(device('dev-1'));
      const first = await testBroker.session(credentials, { clientId: 'dev-1', clean });
      first.send(publish('old', 4));
      await count(1);
      const second = await testBroker.session(credentials, { clientId: 'dev-1', clean: true });
      await first.closed;
      waiting[0]?.resolve();
      await second.settled();
      await testBroker.sessions.store.durable();
      second.send(publish('new', 4));
      await count(2);
      waiting[1]?.resolve();
      expect(await second.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
      expect(testBroker.accepted.map(({ payload }) => String(payload))).toEqual(['old', 'new']);
    },
  );

  it('beyond the limit ends a client that releases none, over all of its connections', async () => {
    testBroker = await TestBroker.start({ limits: { inflight: 3 } });
    const credentials = testBroker.enroll(device('dev-1'));
    const topic = 'devices/dev-1/events/opened';
    const ids = [1, 2, 3];
    for (let connection = 1; connection <= 3; connection += 1) {
      const client = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
      for (const id of ids) client.send(publish('x', id, { topic, dup: connection > 1 }));
      const answers = await client.settled();
      expect(answers.map(({ cmd, messageId }) => [cmd, messageId])).toEqual(ids.map((id) => ['pubrec', id]));
      client.send(publish('x', 100 + connection, { topic }));
      await client.closed;
    }
    expect(testBroker.broker.counters()['disconnected.limit_exceeded']).toBe(3);
    const client = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    await released(client, 2);
    client.send(publish('x', 200, { topic }));
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 200 });
  });

  it('can be released without having been sent', async () => {
    testBroker = await TestBroker.start();
    const client = await testBroker.connectDevice('dev-1', { clean: false });
    for (const id of [1, 65_535]) await released(client, id);
    client.send(publish('x', 65_535));
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 65_535 });
    await released(client, 65_535);
    await released(client, 65_535);
    expect(testBroker.accepted).toHaveLength(1);
  });
});
