/** MQTT.js (npm `mqtt`) with protocolVersion 5, as devices and services: aliases, flow control, shared subscriptions, reason codes. */

import type { DeviceId } from '@rollcall/protocol';
import type { IClientOptions, IDisconnectPacket, IPublishPacket, MqttClient } from 'mqtt';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type FleetOverrides, startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt, startMqtt } from '../fixtures/mqtt.ts';
import { issueService } from '../fixtures/service.ts';

let fleet: TestFleet;
const start = async (settings: FleetOverrides['settings'] = []) => {
  fleet = await startFleet({ settings: [[['mqtt', 'limits', 'messagesPerSecond'], 0], ...settings] });
};
beforeEach(() => start());
afterEach(() => fleet.stop());

const device = async (id: string, options: IClientOptions = {}) =>
  connectMqtt(await fleet.enroll(id), { protocolVersion: 5, ...options });
const service = async (name: string, options: IClientOptions = {}) =>
  connectMqtt(await issueService(fleet, name), { protocolVersion: 5, ...options });

/** Collects messages; `until` resolves when as many have come. */
function collect(client: MqttClient) {
  const packets: IPublishPacket[] = [];
  /** With aliases resolved: the packets have the topics as sent. */
  const topics: string[] = [];
  const waiting = new Set<() => void>();
  client.on('message', (topic, _payload, packet) => {
    packets.push(packet);
    topics.push(topic);
    for (const look of waiting) look();
  });
  return {
    packets,
    topics,
    payloads: () => packets.map(({ payload }) => String(payload)),
    until: (count: number) =>
      new Promise<void>((resolve) => {
        const look = () => {
          if (packets.length >= count) resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

/** Resolves when the messages of several clients are enough. */
function together(clients: readonly MqttClient[], isEnough: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (isEnough()) resolve();
    };
    for (const client of clients) client.on('message', look);
    look();
  });
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index + 1));
const sorted = (texts: readonly string[]) => [...texts].sort((a, b) => Number(a) - Number(b));

it('aliases of a publisher and of a receiver change no topic', async () => {
  const reader = await service('reader', { properties: { topicAliasMaximum: 2 } });
  const heard = collect(reader);
  await reader.subscribeAsync('devices/+/telemetry/+', { qos: 1 });
  const sender = await device('aliases', { autoAssignTopicAlias: true });
  const streams = ['a', 'b', 'c', 'a', 'b', 'c', 'a', 'a'];
  for (const [index, stream] of streams.entries()) {
    await sender.publishAsync(`devices/aliases/telemetry/${stream}`, String(index), { qos: 1 });
  }
  await heard.until(streams.length);
  expect(heard.topics).toEqual(streams.map((stream) => `devices/aliases/telemetry/${stream}`));
  const stored = await fleet.operator.queryTelemetry({ device: 'aliases' as DeviceId });
  expect(stored.map(({ stream }) => stream)).toEqual(streams);
});

it('a receiver with Receive Maximum 1 that acknowledges slowly gets one message at a time, and every message', async () => {
  let inHand = 0;
  let most = 0;
  const reader = await service('slow', {
    properties: { receiveMaximum: 1 },
    customHandleAcks: (_topic, _payload, packet, done) => {
      if (packet.qos > 0) most = Math.max(most, ++inHand);
      setImmediate(() => {
        inHand -= 1;
        done(0);
      });
    },
  });
  const heard = collect(reader);
  await reader.subscribeAsync('devices/+/events/+', { qos: 2 });
  const sender = await device('fast');
  const texts = numbers(30);
  await Promise.all(
    texts.map((text, index) => sender.publishAsync('devices/fast/events/tick', text, { qos: index % 2 === 0 ? 1 : 2 })),
  );
  await heard.until(texts.length);
  expect(sorted(heard.payloads())).toEqual(texts);
  expect(most).toBe(1);
});

it('a server with Receive Maximum 1 stores and acknowledges every message of a publisher that sends many at a time', async () => {
  await fleet.stop();
  await start([[['mqtt', 'limits', 'inflight'], 1]]);
  // MQTT.js does not observe the Receive Maximum of CONNACK.
  const sender = await device('eager');
  const texts = numbers(50);
  await Promise.all(texts.map((text) => sender.publishAsync('devices/eager/telemetry/count', text, { qos: 1 })));
  const stored = await fleet.operator.queryTelemetry({ device: 'eager' as DeviceId, limit: 100 });
  expect(stored.map(({ payload }) => String(payload))).toEqual(texts);
});

it('a refused message is reported by its reason, and the connection stays', async () => {
  const sender = await device('refused');
  for (const qos of [1, 2] as const) {
    await expect(sender.publishAsync('devices/another/telemetry/x', 'x', { qos })).rejects.toMatchObject({
      code: 0x87,
    });
  }
  await sender.publishAsync('devices/refused/telemetry/x', 'x', { qos: 1 });
  expect(sender.connected).toBe(true);
  expect(await fleet.operator.queryTelemetry({ device: 'another' as DeviceId })).toEqual([]);
  expect(await fleet.operator.queryTelemetry({ device: 'refused' as DeviceId })).toHaveLength(1);
});

it('three services divide the messages of a shared subscription; what a leaving member did not acknowledge goes to the others', async () => {
  const filter = '$share/workers/devices/+/events/+';
  const members: { readonly client: MqttClient; readonly heard: ReturnType<typeof collect> }[] = [];
  for (const name of ['one', 'two', 'three']) {
    // The first one takes its messages and acknowledges none.
    const silent = name === 'one' ? { customHandleAcks: () => {} } : {};
    const client = await service(name, silent);
    const heard = collect(client);
    await client.subscribeAsync(filter, { qos: 1 });
    members.push({ client, heard });
  }
  const [one, two, three] = members as [(typeof members)[0], (typeof members)[0], (typeof members)[0]];
  const sender = await device('sender');
  const texts = numbers(30);
  for (const text of texts) await sender.publishAsync('devices/sender/events/tick', text, { qos: 1 });
  await one.client.endAsync(true);
  await together(
    [two.client, three.client],
    () => two.heard.packets.length + three.heard.packets.length >= texts.length,
  );
  expect(sorted([...two.heard.payloads(), ...three.heard.payloads()])).toEqual(texts);
  expect(Math.min(two.heard.packets.length, three.heard.packets.length)).toBeGreaterThan(0);
});

it('messages of a shared subscription wait for persistent members, each for one of them', async () => {
  const persistent = { clean: false, properties: { sessionExpiryInterval: 3_600 } };
  const identities = [await issueService(fleet, 'day'), await issueService(fleet, 'night')];
  for (const identity of identities) {
    const client = await connectMqtt(identity, { protocolVersion: 5, ...persistent });
    await client.subscribeAsync('$share/shift/devices/+/events/+', { qos: 1 });
    await client.endAsync();
  }
  const sender = await device('always');
  const texts = numbers(10);
  for (const text of texts) await sender.publishAsync('devices/always/events/tick', text, { qos: 1 });
  const heard: string[][] = [];
  for (const identity of identities) {
    // Messages may come with CONNACK: the listener is there before.
    const client = startMqtt(identity, { protocolVersion: 5, ...persistent });
    const { packets, payloads, until } = collect(client);
    await until(5);
    expect(packets).toHaveLength(5);
    heard.push(payloads());
  }
  expect(sorted(heard.flat())).toEqual(texts);
});

it('every subscription that matches is named by its identifier', async () => {
  const reader = await service('identifiers');
  const heard = collect(reader);
  await reader.subscribeAsync('devices/+/events/+', { qos: 1, properties: { subscriptionIdentifier: 1 } });
  await reader.subscribeAsync('devices/named/events/+', { qos: 1, properties: { subscriptionIdentifier: 2 } });
  const sender = await device('named');
  await sender.publishAsync('devices/named/events/a', 'both', { qos: 1 });
  await sender.publishAsync('devices/named/events/b', 'end', { qos: 1 });
  await heard.until(2);
  const identifiers = heard.packets
    .filter(({ topic }) => topic.endsWith('/a'))
    .flatMap(({ properties }) => properties?.subscriptionIdentifier ?? []);
  expect(identifiers.sort()).toEqual([1, 2]);
});

it.each<[string, number, (id: DeviceId) => Promise<unknown>]>([
  ['revoked', 0x98, (id) => fleet.operator.revokeDevices({ ids: [id], reason: 'keyCompromise' })],
  ['suspended', 0x98, (id) => fleet.operator.suspendDevices({ ids: [id] })],
])('a device that is %s receives DISCONNECT with its reason', async (_word, code, act) => {
  const client = await device('told');
  const disconnect = new Promise<IDisconnectPacket>((resolve) => client.once('disconnect', resolve));
  await act('told' as DeviceId);
  const packet = await disconnect;
  expect(packet.reasonCode).toBe(code);
  expect(packet.properties?.reasonString).toMatch(/^[a-z_]+: \S/);
  await closed(client);
});

it('a stopping server says so to each client', async () => {
  const client = await device('last');
  const disconnect = new Promise<IDisconnectPacket>((resolve) => client.once('disconnect', resolve));
  await fleet.close();
  expect((await disconnect).reasonCode).toBe(0x8b);
});
