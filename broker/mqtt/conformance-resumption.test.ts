/** What happens to unacknowledged and queued messages when a session is resumed, and packets that a small client can take. Statement numbers are those of MQTT 5. */

import { ReasonCode } from '@rollcall/protocol';
import type { IPublishPacket, Packet } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Credentials } from '../../test/fixtures/broker/certificates.ts';
import type { ConnectOptions, ProtocolVersion, RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { messages, payloads } from '../../test/fixtures/broker/received-packets.ts';
import { device, service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';

const EVENT = 'devices/dev-1/events/door';
const EVENTS = 'devices/+/events/+';

let testBroker: TestBroker;
let now: number;
let own: Credentials;
beforeEach(async () => {
  now = Date.now();
  testBroker = await TestBroker.start({ now: () => now });
  own = testBroker.enroll(service('reader'));
});
afterEach(() => testBroker.close());

type Properties = NonNullable<ConnectOptions['properties']>;

/** The persistent session of one service. */
async function reader(properties: Properties = {}, protocolVersion: ProtocolVersion = 5): Promise<RawClient> {
  return testBroker.session(own, {
    clientId: 'reader',
    protocolVersion,
    clean: false,
    ...(protocolVersion === 5 && { properties: { sessionExpiryInterval: 3_600, ...properties } }),
  });
}

async function leave(client: RawClient): Promise<void> {
  client.disconnect();
  await client.closed;
}

async function publish(texts: readonly string[], properties = {}): Promise<void> {
  const client = await testBroker.connectDevice('dev-1', { protocolVersion: 5 });
  for (const [index, text] of texts.entries()) {
    await client.publish(EVENT, text, { qos: 1, messageId: index + 1, properties });
  }
  await client.settled();
  await leave(client);
}

const published = (packets: readonly Packet[]) =>
  packets.filter((packet): packet is IPublishPacket => packet.cmd === 'publish');

describe('a resumed session', () => {
  for (const protocolVersion of [4, 5] as const) {
    it(`[MQTT-4.4.0-1, MQTT-3.3.1-1] is sent unacknowledged messages again, with their identifiers and DUP, in version ${protocolVersion}`, async () => {
      const first = await reader({}, protocolVersion);
      await first.subscribe({ topic: EVENTS, qos: 1 });
      await publish(['a', 'b', 'c']);
      const before = published(await first.settled());
      first.acknowledge(before[0] as IPublishPacket);
      await first.settled();
      await leave(first);
      const again = published(await (await reader({}, protocolVersion)).settled());
      const shown = again.map(({ messageId, dup, payload }) => [messageId, dup, String(payload)]);
      expect(shown).toEqual(before.slice(1).map(({ messageId, payload }) => [messageId, true, String(payload)]));
    });
  }

  it('[MQTT-4.4.0-2] is not sent again what it refused by a reason code', async () => {
    const first = await reader();
    await first.subscribe({ topic: EVENTS, qos: 1 });
    await publish(['a', 'b']);
    const [refused] = published(await first.settled());
    first.acknowledge(refused as IPublishPacket, ReasonCode.unspecifiedError);
    await first.settled();
    await leave(first);
    expect(payloads(await (await reader()).settled())).toEqual(['b']);
  });

  it('[MQTT-4.4.0-1] of QoS 2 goes on with PUBREL where PUBREC was received', async () => {
    const first = await reader();
    await first.subscribe({ topic: EVENTS, qos: 2 });
    const sender = await testBroker.connectDevice('dev-1', { protocolVersion: 5 });
    await sender.publish(EVENT, 'x', { qos: 2 });
    await sender.nextOf('pubrec');
    sender.send({ cmd: 'pubrel', messageId: 1 });
    const message = (await first.nextOf('publish')) as IPublishPacket;
    first.acknowledge(message);
    await first.nextOf('pubrel');
    await leave(first);
    const back = await reader();
    expect(await back.next()).toMatchObject({ cmd: 'pubrel', messageId: message.messageId });
    back.send({ cmd: 'pubcomp', messageId: message.messageId as number });
    expect(messages(await back.settled())).toEqual([]);
  });

  it('[MQTT-3.3.4-9] is sent its queue within its Receive Maximum, in order', async () => {
    const first = await reader();
    await first.subscribe({ topic: EVENTS, qos: 1 });
    await leave(first);
    const texts = ['a', 'b', 'c', 'd'];
    await publish(texts);
    const back = await reader({ receiveMaximum: 1 });
    const heard: string[] = [];
    for (const text of texts) {
      const message = (await back.nextOf('publish')) as IPublishPacket;
      expect(String(message.payload)).toBe(text);
      expect(messages(await back.settled())).toEqual([]);
      heard.push(text);
      back.acknowledge(message);
    }
    expect(heard).toEqual(texts);
  });

  it('[MQTT-3.3.2-7] is sent whole topics again: aliases belong to the connection', async () => {
    const first = await reader({ topicAliasMaximum: 5 });
    await first.subscribe({ topic: EVENTS, qos: 1 });
    await publish(['a', 'b']);
    const before = published(await first.settled());
    expect(before.map(({ topic, properties }) => [topic, properties?.topicAlias])).toEqual([
      [EVENT, 1],
      ['', 1],
    ]);
    await leave(first);
    const without = published(await (await reader()).settled());
    expect(without.map(({ topic, properties }) => [topic, properties?.topicAlias])).toEqual([
      [EVENT, undefined],
      [EVENT, undefined],
    ]);
  });

  it('[MQTT-3.1.2-24] is sent no queued message above its Maximum Packet Size, and all others', async () => {
    const first = await reader();
    await first.subscribe({ topic: EVENTS, qos: 1 });
    await leave(first);
    await publish(['a', 'x'.repeat(300), 'b']);
    const back = await reader({ maximumPacketSize: 200 });
    expect(payloads(await back.settled())).toEqual(['a', 'b']);
    await leave(back);
    // A message that was dropped does not return.
    const again = await reader();
    expect(payloads(await again.settled())).toEqual(['a', 'b']);
  });

  it('[MQTT-3.3.2-5] is not sent what expired while its Receive Maximum was in use', async () => {
    const client = await reader({ receiveMaximum: 1 });
    await client.subscribe({ topic: EVENTS, qos: 1 });
    await publish(['first']);
    await publish(['short'], { messageExpiryInterval: 10 });
    await publish(['long'], { messageExpiryInterval: 1_000 });
    const first = (await client.nextOf('publish')) as IPublishPacket;
    now += 60_000;
    client.acknowledge(first);
    expect(await client.nextOf('publish')).toMatchObject({
      payload: Buffer.from('long'),
      properties: { messageExpiryInterval: 940 },
    });
  });

  it('[MQTT-3.8.4-3] has its subscription options and identifiers', async () => {
    const first = await reader();
    await first.subscribeWithIdentifier(12, { topic: 'devices/+/twin/reported', qos: 1, rap: true });
    await leave(first);
    const back = await reader();
    const sender = await testBroker.connectDevice('dev-1', { protocolVersion: 5 });
    await sender.publish('devices/dev-1/twin/reported', '{}', { qos: 1, retain: true });
    expect(await back.nextOf('publish')).toMatchObject({ retain: true, properties: { subscriptionIdentifier: 12 } });
  });
});

describe('a client with a small Maximum Packet Size', () => {
  /** Bytes of a packet as received. */
  const sizeOf = (packet: Packet | undefined) => (packet?.length ?? 0) + 2;

  it('[MQTT-3.1.2-24, 3.14.2.2.3] gets DISCONNECT and PUBACK without the words that do not fit', async () => {
    const client = await testBroker.connectDevice('dev-1', {
      protocolVersion: 5,
      properties: { maximumPacketSize: 24 },
    });
    expect(sizeOf(client.connack)).toBeLessThanOrEqual(24);
    await client.publish('devices/dev-2/events/x', 'x', { qos: 1 });
    const refused = await client.nextOf('puback');
    expect(refused?.reasonCode).toBe(ReasonCode.notAuthorized);
    expect(sizeOf(refused)).toBeLessThanOrEqual(24);
    testBroker.revokeInRegistry(device('dev-1'));
    await testBroker.broker.disconnect(device('dev-1'), 'revoked');
    const disconnect = await client.disconnected();
    expect(disconnect?.reasonCode).toBe(ReasonCode.administrativeAction);
    expect(sizeOf(disconnect)).toBeLessThanOrEqual(24);
  });
});

it('[MQTT-3.2.2-19] a refused client gets CONNACK without the words that do not fit', async () => {
  const client = await testBroker.open(testBroker.enroll(device('dev-1')));
  const properties = { maximumPacketSize: 24 };
  expect(await client.connect({ clientId: 'dev-2', protocolVersion: 5, properties })).toBe(
    ReasonCode.clientIdentifierNotValid,
  );
  expect(client.connack?.properties ?? {}).not.toHaveProperty('reasonString');
});

describe('a client of MQTT 3.1.1', () => {
  it('[4.8.2] may be a member of a shared subscription, beside one of MQTT 5', async () => {
    const [old, recent] = [
      await testBroker.connectService('old'),
      await testBroker.connectService('recent', { protocolVersion: 5 }),
    ];
    for (const client of [old, recent])
      expect(await client.subscribe({ topic: `$share/g/${EVENTS}`, qos: 1 })).toEqual([1]);
    await publish(['1', '2', '3', '4']);
    const heard = [payloads(await old.settled()), payloads(await recent.settled())];
    expect(heard.map(({ length }) => length)).toEqual([2, 2]);
    expect(heard.flat().sort()).toEqual(['1', '2', '3', '4']);
  });
});

it('[MQTT-3.12.4-1] PINGREQ is answered with PINGRESP in both versions', async () => {
  for (const protocolVersion of [4, 5] as const) {
    const client = await testBroker.connectService('pinger', { protocolVersion });
    client.send({ cmd: 'pingreq' });
    expect(await client.next()).toMatchObject({ cmd: 'pingresp' });
    await leave(client);
  }
});

it('[3.1.2.11.6] CONNACK has no Response Information, also when it is asked for', async () => {
  const client = await testBroker.connectService('asker', {
    protocolVersion: 5,
    properties: { requestResponseInformation: true },
  });
  expect(client.connack?.properties ?? {}).not.toHaveProperty('responseInformation');
});
