/** What is acknowledged, when and in which order, and that what arrived is stored whether or not anybody still waits. */

import mqttPacket, { type Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { manualStorage } from '../../test/fixtures/broker/manual-storage.ts';
import { connectPacket } from '../../test/fixtures/broker/raw-client.ts';
import { payloads, pubacks } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const telemetry = 'devices/dev-1/telemetry/temp';

describe('an acknowledgement', () => {
  it('waits for storage, and comes in the order of the messages', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const client = await testBroker.connectDevice('dev-1');
    for (const messageId of [11, 12, 13]) await client.publish(telemetry, String(messageId), { qos: 1, messageId });
    await client.publish('devices/dev-1/events/door', 'x', { qos: 1, messageId: 14 });
    await storage.count(3);
    storage.waiting[2]?.resolve();
    storage.waiting[1]?.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(pubacks(client.packets)).toEqual([]);
    storage.waiting[0]?.resolve();
    expect(pubacks(await client.settled())).toEqual([11, 12, 13, 14]);
  });

  it('never comes for a message that could not be stored, nor for one after it', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const client = await testBroker.connectDevice('dev-1');
    for (const messageId of [1, 2, 3]) await client.publish(telemetry, String(messageId), { qos: 1, messageId });
    await storage.count(3);
    storage.waiting[2]?.resolve();
    storage.waiting[1]?.reject(new Error('disk full'));
    storage.waiting[0]?.resolve();
    await client.closed;
    expect(pubacks(client.packets)).not.toContain(2);
    expect(pubacks(client.packets)).not.toContain(3);
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'storage_failed' });
  });

  it('never comes when storage throws', async () => {
    await start({
      accept: () => {
        throw new Error('closed');
      },
    });
    const client = await testBroker.connectDevice('dev-1');
    await client.publish(telemetry, 'x', { qos: 1 });
    await client.closed;
    expect(pubacks(client.packets)).toEqual([]);
  });

  it('of many messages in flight comes for each, and no more than the limit are in flight', async () => {
    let inFlight = 0;
    let most = 0;
    await start({
      limits: { inflight: 10, messagesPerSecond: 0 },
      accept: async () => {
        inFlight += 1;
        most = Math.max(most, inFlight);
        await new Promise((resolve) => setImmediate(resolve));
        inFlight -= 1;
      },
    });
    const client = await testBroker.connectDevice('dev-1');
    const ids = Array.from({ length: 500 }, (_, index) => index + 1);
    client.send(
      Buffer.concat(
        ids.map((messageId) =>
          mqttPacket.generate({
            cmd: 'publish',
            topic: telemetry,
            payload: String(messageId),
            qos: 1,
            messageId,
            retain: false,
            dup: false,
          }),
        ),
      ),
    );
    expect(pubacks(await client.settled())).toEqual(ids);
    expect(testBroker.accepted.map(({ payload }) => Number(payload))).toEqual(ids);
    expect(most).toBeLessThanOrEqual(10);
    expect(most).toBeGreaterThan(1);
  });

  it('of QoS 2 stores a message once, however often it is sent before its PUBREL', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const client = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    const publish: Packet = {
      cmd: 'publish',
      topic: telemetry,
      payload: 'x',
      qos: 2,
      messageId: 4,
      retain: false,
      dup: false,
    };
    client.send(publish);
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
    client.send({ ...publish, dup: true });
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
    client.destroy();
    await testBroker.event('disconnected');
    const again = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    again.send({ ...publish, dup: true });
    expect(await again.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
    again.send({ cmd: 'pubrel', messageId: 4 });
    expect(await again.next()).toMatchObject({ cmd: 'pubcomp', messageId: 4 });
    expect(testBroker.accepted).toHaveLength(1);
    again.send({ ...publish, payload: 'y' });
    await again.settled();
    expect(testBroker.accepted).toHaveLength(2);
    expect(testBroker.broker.counters().messages_accepted).toBe(2);
  });

  it('of QoS 2 comes in the order of the messages', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    const ids = [5, 3, 9, 1, 7];
    for (const messageId of ids) await client.publish(telemetry, String(messageId), { qos: 2, messageId });
    const seen = await client.settled();
    expect(seen.map(({ cmd, messageId }) => [cmd, messageId])).toEqual(ids.map((id) => ['pubrec', id]));
    expect(testBroker.accepted.map(({ payload }) => Number(payload))).toEqual(ids);
  });
});

describe('a message', () => {
  it('sent together with CONNECT and DISCONNECT is stored', async () => {
    await start();
    const client = await testBroker.open(testBroker.enroll(device('dev-1')));
    const all: Packet[] = [
      connectPacket({ clientId: 'dev-1' }),
      { cmd: 'publish', topic: telemetry, payload: 'x', qos: 0, retain: false, dup: false },
      { cmd: 'publish', topic: telemetry, payload: 'y', qos: 1, messageId: 1, retain: false, dup: false },
      { cmd: 'disconnect' },
    ];
    client.send(Buffer.concat(all.map((packet) => mqttPacket.generate(packet))));
    await client.closed;
    await testBroker.event('disconnected', ({ reason }) => reason === 'client_disconnected');
    expect(testBroker.accepted.map(({ payload }) => payload.toString())).toEqual(['x', 'y']);
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack', 'puback']);
  });

  it('that was received before the connection was lost is stored and delivered', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/+/telemetry/+');
    const client = await testBroker.connectDevice('dev-1');
    for (let n = 1; n <= 3; n += 1) await client.publish(telemetry, String(n), { qos: 1, messageId: n });
    await storage.count(3);
    client.destroy();
    await testBroker.event('disconnected');
    for (const { resolve } of storage.waiting) resolve();
    const heard = [await listener.next(), await listener.next(), await listener.next()];
    expect(payloads(heard as Packet[])).toEqual(['1', '2', '3']);
  });
});
