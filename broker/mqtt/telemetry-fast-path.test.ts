/** The short way of telemetry, against a real broker: nobody can tell from outside which way a message went. */

import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import type { TelemetryMessage } from '../../telemetry/index.ts';
import { payloads, pubacks } from '../../test/fixtures/broker/received-packets.ts';
import { device, service, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const telemetry = 'devices/dev-1/telemetry/temp';
const event = 'devices/dev-1/events/door';
const reader = {
  policies: {
    'service/*': { connect: ['*'], publish: [], subscribe: ['#'], receive: ['#'], retain: [] },
    'group/default': {
      ...DEFAULT_DEVICE_POLICY,
      retain: ['devices/${device.id}/telemetry/+'],
    },
  },
};

const stored = () => testBroker.accepted.map(({ payload }) => String(payload));
const onFastPath = () => testBroker.broker.counters().messages_on_fast_path;

const publishOf = (
  topic: string,
  messageId: number,
  about: { qos?: 0 | 1 | 2; dup?: boolean; retain?: boolean } = {},
) => {
  const { qos = 1, dup = false, retain = false } = about;
  const id = qos === 0 ? {} : { messageId };
  return mqttPacket.generate({ cmd: 'publish', topic, payload: String(messageId), qos, dup, retain, ...id });
};

/** The identifiers of so many PUBACKs, as they come. */
async function acknowledged(client: { next(): Promise<Packet | undefined> }, count: number): Promise<number[]> {
  const ids: number[] = [];
  while (ids.length < count) {
    const packet = await client.next();
    if (packet === undefined) break;
    if (packet.cmd === 'puback') ids.push(packet.messageId as number);
  }
  return ids;
}

describe('the telemetry fast path', () => {
  it('handles QoS 0 and 1 to telemetry topics of the device itself, and leaves everything else to aedes', async () => {
    await start(reader);
    const client = await testBroker.connectDevice('dev-1');
    client.send(publishOf(telemetry, 1, { qos: 0 }));
    client.send(publishOf(telemetry, 2));
    client.send(publishOf('devices/dev-1/telemetry/other', 3, { dup: true }));
    expect(await acknowledged(client, 2)).toEqual([2, 3]);
    expect(onFastPath()).toBe(3);
    const rest = [
      publishOf(telemetry, 4, { qos: 2 }),
      publishOf(telemetry, 5, { retain: true }),
      publishOf(telemetry, 6, { qos: 0, retain: true }),
      publishOf(event, 7),
    ];
    for (const packet of rest) {
      client.send(packet);
      await client.settled();
    }
    expect(onFastPath()).toBe(3);
    expect(stored()).toEqual(['1', '2', '3', '4', '5', '6']);
    expect(testBroker.accepted.slice(0, 3).map(({ stream, qos }) => `${stream} ${qos}`)).toEqual([
      'temp 0',
      'temp 1',
      'other 1',
    ]);
    expect(testBroker.broker.counters()).toMatchObject({ messages_received: 7, messages_accepted: 6, retained: 1 });
  });

  it('acknowledges in the order of the messages, whichever way each goes and whenever it is stored', async () => {
    let late: (() => void) | undefined;
    const isLate = ({ payload }: TelemetryMessage) => String(payload) === '2';
    await start({
      accept: async (message) => {
        if (isLate(message)) await new Promise<void>((resolve) => (late = resolve));
      },
    });
    const client = await testBroker.connectDevice('dev-1');
    const ids = Array.from({ length: 20 }, (_, at) => at + 1);
    for (const id of ids) client.send(publishOf(id % 3 === 0 ? event : telemetry, id));
    while (stored().length < 13) await new Promise((resolve) => setImmediate(resolve));
    expect(stored()).not.toContain('2');
    late?.();
    expect(await acknowledged(client, 20)).toEqual(ids);
    expect(onFastPath()).toBeGreaterThan(0);
  });

  it('delivers a message to its subscribers, in order, and to none after they unsubscribed', async () => {
    await start(reader);
    const listener = await testBroker.connectService('listener');
    const client = await testBroker.connectDevice('dev-1');
    const filter = 'devices/+/telemetry/#';
    client.send(publishOf(telemetry, 1));
    await acknowledged(client, 1);
    await listener.subscribe({ topic: filter, qos: 1 });
    client.send(publishOf(telemetry, 2));
    client.send(publishOf(telemetry, 3, { qos: 0 }));
    client.send(publishOf(telemetry, 4));
    expect(await acknowledged(client, 2)).toEqual([2, 4]);
    const heard = [await listener.next(), await listener.next(), await listener.next()];
    expect(heard).toMatchObject([
      { cmd: 'publish', topic: telemetry, qos: 1, retain: false, dup: false, payload: Buffer.from('2') },
      { cmd: 'publish', topic: telemetry, qos: 0, payload: Buffer.from('3') },
      { cmd: 'publish', topic: telemetry, qos: 1, payload: Buffer.from('4') },
    ]);
    listener.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: [filter] });
    await listener.settled();
    client.send(publishOf(telemetry, 5));
    await acknowledged(client, 1);
    expect(payloads(await listener.settled())).toEqual([]);
    expect(onFastPath()).toBe(5);
  });

  it('delivers nothing that is not stored', async () => {
    let isFull = true;
    await start({
      ...reader,
      accept: () => (isFull ? Promise.reject(new Error('disk full')) : Promise.resolve()),
    });
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('#');
    const client = await testBroker.connectDevice('dev-1');
    for (const id of [1, 2]) client.send(publishOf(telemetry, id));
    await client.closed;
    expect([pubacks(client.packets), payloads(await listener.settled())]).toEqual([[], []]);
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'storage_failed' });
    isFull = false;
    const again = await testBroker.connectDevice('dev-1');
    again.send(publishOf(telemetry, 3));
    expect(await acknowledged(again, 1)).toEqual([3]);
  });

  it('queues a message for a disconnected session', async () => {
    await start(reader);
    const credentials = testBroker.enroll(service('listener'));
    const listener = await testBroker.session(credentials, { clientId: 'listener', clean: false });
    await listener.subscribe({ topic: 'devices/#', qos: 1 });
    listener.send({ cmd: 'disconnect' });
    await testBroker.event('disconnected');
    const client = await testBroker.connectDevice('dev-1');
    for (const id of [1, 2]) client.send(publishOf(telemetry, id));
    await acknowledged(client, 2);
    const back = await testBroker.session(credentials, { clientId: 'listener', clean: false });
    const heard = [await back.next(), await back.next()];
    expect(payloads(heard as Packet[])).toEqual(['1', '2']);
    // It has to be in the queue before it is acknowledged, and the queue is the engine's.
    expect(onFastPath()).toBe(0);
  });

  it('asks the access rules, also when they change', async () => {
    await start(reader);
    const client = await testBroker.connectDevice('dev-1');
    client.send(publishOf(telemetry, 1));
    await acknowledged(client, 1);
    testBroker.setPolicy('group/default', { ...DEFAULT_DEVICE_POLICY, publish: [] });
    await client.settled();
    client.send(publishOf(telemetry, 2));
    await client.closed;
    expect(await testBroker.event('acl_denied')).toMatchObject({ verb: 'publish', topic: telemetry });
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'acl_denied' });
    expect(stored()).toEqual(['1']);
  });

  it('handles nothing for another device', async () => {
    await start({ policies: { 'group/default': { ...DEFAULT_DEVICE_POLICY, publish: ['#'] } } });
    const client = await testBroker.connectDevice('dev-1');
    client.send(publishOf('devices/dev-2/telemetry/temp', 1));
    expect(await acknowledged(client, 1)).toEqual([1]);
    expect([stored(), onFastPath()]).toEqual([[], 0]);
  });

  it('applies the rate limit of a client', async () => {
    let time = Date.now();
    const now = () => {
      time += 1;
      return time;
    };
    await start({ now, limits: { messagesPerSecond: 10, throttleTimeout: 0 } });
    const client = await testBroker.connectDevice('dev-1');
    for (let id = 1; id <= 40; id += 1) client.send(publishOf(telemetry, id));
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'rate_exceeded' });
    expect(stored().length).toBeLessThan(30);
  });

  it('acknowledges nothing more once the device is revoked', async () => {
    let arrived: () => void = () => {};
    let finish: () => void = () => {};
    const waits = new Promise<void>((resolve) => (arrived = resolve));
    await start({
      ...reader,
      accept: () => {
        arrived();
        return new Promise((resolve) => (finish = resolve));
      },
    });
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/#');
    const client = await testBroker.connectDevice('dev-1');
    client.send(publishOf(telemetry, 1));
    await waits;
    testBroker.revokeInRegistry(device('dev-1'));
    await testBroker.broker.disconnect(device('dev-1'), 'revoked');
    finish();
    expect(payloads(await listener.settled())).toEqual([]);
    expect(pubacks(client.packets)).toEqual([]);
  });

  it('handles many streams', async () => {
    await start({ limits: { messagesPerSecond: 0 } });
    const client = await testBroker.connectDevice('dev-1');
    const ids = Array.from({ length: 100 }, (_, at) => at + 1);
    for (const id of [...ids, ...ids]) client.send(publishOf(`devices/dev-1/telemetry/stream-${id}`, id));
    expect(await acknowledged(client, 200)).toEqual([...ids, ...ids]);
    expect(new Set(testBroker.accepted.map(({ stream, payload }) => `${stream}` === `stream-${payload}`))).toEqual(
      new Set([true]),
    );
    expect(onFastPath()).toBe(200);
  });
});
