/** Retained messages for new subscriptions: more than a queue holds, and more than a client reads at once. */

import type { PolicyDocument } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

const POLICY: PolicyDocument = {
  connect: ['${service.name}'],
  publish: ['#'],
  subscribe: ['#'],
  receive: ['#'],
  retain: ['#'],
};
const COUNT = 300;

async function retain(options: TestBrokerOptions, payload: Buffer): Promise<void> {
  const { limits, ...others } = options;
  testBroker = await TestBroker.start({
    ...others,
    limits: { retained: COUNT, messagesPerSecond: 0, bytesPerSecond: 0, ...limits },
    policies: { 'service/*': POLICY },
  });
  const publisher = await testBroker.connectService('publisher');
  for (let index = 0; index < COUNT; index += 1) {
    await publisher.publish(`state/${index}`, payload, { qos: 1, retain: true, messageId: index + 1 });
  }
  await publisher.settled();
}

/** Reads and acknowledges so many messages. Resolves with the number of different topics. */
async function topicsOf(client: RawClient, count: number): Promise<number> {
  const topics = new Set<string>();
  while (topics.size < count) {
    const message = await client.nextOf('publish');
    if (message === undefined) break;
    topics.add(message.topic);
    client.acknowledge(message);
  }
  return topics.size;
}

describe('a new subscription', () => {
  it.each([4, 5] as const)(
    'receives all retained messages, even if its queue holds fewer (version %d)',
    async (version) => {
      await retain({ limits: { queuedMessages: 20 } }, Buffer.from('x'));
      const client = await testBroker.connectService('reader', {
        protocolVersion: version,
        ...(version === 5 && { properties: { receiveMaximum: 5 } }),
      });
      await client.subscribe({ topic: 'state/+', qos: 1 });
      expect(await topicsOf(client, COUNT)).toBe(COUNT);
    },
  );

  it.each([0, 1] as const)(
    'receives all retained messages, even if they are more than a client may leave unread (QoS %d)',
    async (qos) => {
      await retain({ limits: { outgoing: 64 * 1024, queuedBytes: 8 * 1024 * 1024 } }, Buffer.alloc(8 * 1024));
      const client = await testBroker.connectService('reader');
      await client.subscribe({ topic: 'state/+', qos });
      expect(await topicsOf(client, COUNT)).toBe(COUNT);
    },
  );

  it('receives no more retained messages after UNSUBSCRIBE [MQTT-3.10.4-2]', async () => {
    await retain({}, Buffer.from('x'));
    const client = await testBroker.connectService('reader', { protocolVersion: 5, properties: { receiveMaximum: 1 } });
    client.send({ cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: 'state/+', qos: 0 }] });
    client.send({ cmd: 'unsubscribe', messageId: 8, unsubscriptions: ['state/+'] });
    await client.nextOf('unsuback');
    const before = client.packets.filter(({ cmd }) => cmd === 'publish').length;
    await client.settled();
    expect(client.packets.filter(({ cmd }) => cmd === 'publish').length).toBe(before);
  });
});
