/** QoS 2 and flow control through mTLS, clause by clause. Statement numbers are those of MQTT 5. */

import { ReasonCode } from '@rollcall/protocol';
import type { IPublishPacket } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { messages } from '../../test/fixtures/broker/received-packets.ts';
import { TestBroker } from '../../test/fixtures/broker/test-broker.ts';

const EVENT = 'devices/dev-1/events/door';

let testBroker: TestBroker;
let now: number;

beforeEach(async () => {
  now = Date.now();
  testBroker = await TestBroker.start({ now: () => now, limits: { inflight: 5 } });
});
afterEach(() => testBroker.close());

const device = () => testBroker.connectDevice('dev-1', { protocolVersion: 5 });

/** A service that has subscribed to all events and telemetry with QoS 2. */
async function listen(protocolVersion: 4 | 5 = 5, properties = {}): Promise<RawClient> {
  const client = await testBroker.connectService(`listener-${protocolVersion}`, {
    protocolVersion,
    ...(protocolVersion === 5 && { properties }),
  });
  await client.subscribe({ topic: 'devices/+/events/+', qos: 2 }, { topic: 'devices/+/telemetry/+', qos: 2 });
  return client;
}

async function nextMessage(client: RawClient): Promise<IPublishPacket | undefined> {
  return client.nextOf('publish');
}

describe('QoS 2', () => {
  for (const protocolVersion of [4, 5] as const) {
    it(`[MQTT-4.3.3-9..12] delivers a message once that is sent again before PUBREL, in version ${protocolVersion}`, async () => {
      const listener = await listen();
      const client = await testBroker.connectDevice('dev-1', { protocolVersion });
      await client.publish(EVENT, 'once', { qos: 2, messageId: 4 });
      expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
      await client.publish(EVENT, 'once', { qos: 2, messageId: 4, dup: true });
      expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
      client.send({ cmd: 'pubrel', messageId: 4 });
      expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 4 });
      expect(messages(await listener.settled())).toEqual([`${EVENT} once`]);
    });
  }

  it('[4.3.3] answers PUBREL for an unknown identifier with PUBCOMP 0x92', async () => {
    const client = await device();
    client.send({ cmd: 'pubrel', messageId: 77 });
    expect(await client.next()).toMatchObject({
      cmd: 'pubcomp',
      messageId: 77,
      reasonCode: ReasonCode.packetIdentifierNotFound,
    });
  });

  it('[MQTT-3.3.4-7, MQTT-3.3.4-8] ends the connection with 0x93 above the Receive Maximum of CONNACK', async () => {
    const client = await device();
    expect(client.connack?.properties?.receiveMaximum).toBe(5);
    for (let messageId = 1; messageId <= 6; messageId += 1) await client.publish(EVENT, 'x', { qos: 2, messageId });
    expect((await client.disconnected())?.reasonCode).toBe(ReasonCode.receiveMaximumExceeded);
    await client.closed;
  });
});

describe('towards a receiver', () => {
  it('[MQTT-3.3.4-9] the Receive Maximum holds, and each acknowledgement releases the next message', async () => {
    const listener = await listen(5, { receiveMaximum: 2 });
    const client = await device();
    for (let messageId = 1; messageId <= 4; messageId += 1) {
      await client.publish(EVENT, String(messageId), { qos: 1, messageId });
    }
    await client.publish(EVENT, 'free', { qos: 0 });
    await client.settled();
    const first = await nextMessage(listener);
    const second = await nextMessage(listener);
    expect([first, second].map((message) => String(message?.payload))).toEqual(['1', '2']);
    // QoS 0 is not counted; nothing else comes.
    expect(messages(await listener.settled())).toEqual([`${EVENT} free`]);
    listener.acknowledge(first as IPublishPacket);
    expect(await nextMessage(listener)).toMatchObject({ payload: Buffer.from('3') });
    listener.acknowledge(second as IPublishPacket);
    expect(await nextMessage(listener)).toMatchObject({ payload: Buffer.from('4') });
    expect(messages(await listener.settled())).toEqual([]);
  });

  it('[MQTT-3.3.4-9] QoS 2 counts until PUBCOMP, or a PUBREC with an error', async () => {
    const listener = await listen(5, { receiveMaximum: 1 });
    const client = await device();
    for (let messageId = 1; messageId <= 3; messageId += 1) {
      await client.publish(EVENT, String(messageId), { qos: 2, messageId });
      await client.nextOf('pubrec');
      client.send({ cmd: 'pubrel', messageId });
    }
    await client.settled();
    const first = (await nextMessage(listener)) as IPublishPacket;
    listener.acknowledge(first);
    expect(await listener.next()).toMatchObject({ cmd: 'pubrel', messageId: first.messageId });
    expect(messages(await listener.settled())).toEqual([]);
    listener.send({ cmd: 'pubcomp', messageId: first.messageId as number });
    const second = (await nextMessage(listener)) as IPublishPacket;
    expect(String(second.payload)).toBe('2');
    listener.acknowledge(second, ReasonCode.quotaExceeded);
    expect(await nextMessage(listener)).toMatchObject({ payload: Buffer.from('3') });
  });

  it('[MQTT-3.1.2-24, MQTT-3.1.2-25] a message above its Maximum Packet Size is dropped for it alone', async () => {
    const [small, large] = [await listen(5, { maximumPacketSize: 100 }), await listen(4)];
    const client = await device();
    await client.publish(EVENT, 'x'.repeat(200), { qos: 1, messageId: 1 });
    await client.publish(EVENT, 'y', { qos: 1, messageId: 2 });
    await client.settled();
    expect(await nextMessage(small)).toMatchObject({ payload: Buffer.from('y') });
    expect(await nextMessage(large)).toMatchObject({ payload: Buffer.from('x'.repeat(200)) });
  });
});
