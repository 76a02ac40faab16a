/** Shared subscriptions through mTLS, clause by clause (MQTT 5, 4.8.2). */

import { ReasonCode } from '@rollcall/protocol';
import type { IPublishPacket } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { messages, payloads } from '../../test/fixtures/broker/received-packets.ts';
import { service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';

const EVENT = 'devices/dev-1/events/door';
const EVENTS = 'devices/+/events/+';
const TWIN = 'devices/dev-1/twin/reported';
const TWINS = 'devices/+/twin/reported';

let testBroker: TestBroker;
beforeEach(async () => {
  testBroker = await TestBroker.start();
});
afterEach(() => testBroker.close());

const device = () => testBroker.connectDevice('dev-1', { protocolVersion: 5 });
const subscriber = (name = 'reader') => testBroker.connectService(name, { protocolVersion: 5 });

const published = (packets: readonly { cmd: string }[]) =>
  packets.filter((packet): packet is IPublishPacket => packet.cmd === 'publish');

describe('a shared subscription', () => {
  const SHARED = `$share/workers/${EVENTS}`;
  const publishEach = async (publisher: RawClient, texts: readonly string[]) => {
    for (const [index, text] of texts.entries()) await publisher.publish(EVENT, text, { qos: 1, messageId: index + 1 });
    await publisher.settled();
  };

  it('[4.8.2] sends each message to one member, and to every other subscription as well', async () => {
    const members = [await subscriber('one'), await subscriber('two'), await subscriber('three')];
    const other = await subscriber('other');
    for (const member of members) await member.subscribe({ topic: SHARED, qos: 1 });
    await other.subscribe({ topic: EVENTS, qos: 1 });
    const texts = Array.from({ length: 12 }, (_, index) => String(index));
    await publishEach(await device(), texts);
    const heard: string[][] = [];
    for (const member of members) heard.push(payloads(await member.settled()));
    expect(heard.flat().sort()).toEqual([...texts].sort());
    for (const texts of heard) expect(texts.length).toBeGreaterThan(0);
    expect(payloads(await other.settled())).toEqual(texts);
  });

  it('[4.8.2] of another group, or another filter, receives messages of its own', async () => {
    const [first, second] = [await subscriber('first'), await subscriber('second')];
    await first.subscribe({ topic: SHARED, qos: 1 });
    await second.subscribe({ topic: `$share/others/${EVENTS}`, qos: 1 });
    await second.subscribe({ topic: '$share/workers/devices/+/events/door', qos: 1 });
    await publishEach(await device(), ['a', 'b']);
    expect(payloads(await first.settled())).toEqual(['a', 'b']);
    expect(payloads(await second.settled())).toEqual(['a', 'a', 'b', 'b']);
  });

  it('[4.8.2] receives no retained messages when it begins', async () => {
    const publisher = await device();
    await publisher.publish(TWIN, '{}', { qos: 1, retain: true });
    await publisher.settled();
    const client = await subscriber();
    await client.subscribe({ topic: `$share/g/${TWINS}`, qos: 1 });
    expect(messages(await client.settled())).toEqual([]);
  });

  it('[4.8.2] gives what a member did not acknowledge to another one when it leaves', async () => {
    const [leaving, staying] = [await subscriber('leaving'), await subscriber('staying')];
    await leaving.subscribe({ topic: SHARED, qos: 1 });
    await publishEach(await device(), ['a', 'b', 'c']);
    expect(payloads(await leaving.settled())).toEqual(['a', 'b', 'c']);
    await staying.subscribe({ topic: SHARED, qos: 1 });
    leaving.destroy();
    const heard: string[] = [];
    while (heard.length < 3) heard.push(String((await staying.nextOf('publish'))?.payload));
    expect(heard).toEqual(['a', 'b', 'c']);
  });

  it('[MQTT-4.8.2-6] does not send again what a member refused in PUBACK', async () => {
    const [refusing, other] = [await subscriber('refusing'), await subscriber('other')];
    await refusing.subscribe({ topic: SHARED, qos: 1 });
    await publishEach(await device(), ['a']);
    refusing.acknowledge((await refusing.nextOf('publish')) as IPublishPacket, ReasonCode.quotaExceeded);
    await refusing.settled();
    await other.subscribe({ topic: SHARED, qos: 1 });
    refusing.disconnect();
    await refusing.closed;
    expect(payloads(await other.settled())).toEqual([]);
  });

  it('[4.8.2] prefers connected members, and stores for persistent ones when none is connected', async () => {
    const away = testBroker.enroll(service('away'));
    const session = { clientId: 'away', protocolVersion: 5, clean: false } as const;
    const persistent = { ...session, properties: { sessionExpiryInterval: 3_600 } };
    const first = await testBroker.session(away, persistent);
    await first.subscribe({ topic: SHARED, qos: 1 });
    first.disconnect();
    await first.closed;
    const connected = await subscriber('connected');
    await connected.subscribe({ topic: SHARED, qos: 1 });
    const publisher = await device();
    await publishEach(publisher, ['a', 'b']);
    expect(payloads(await connected.settled())).toEqual(['a', 'b']);
    for (const packet of published(connected.packets)) connected.acknowledge(packet);
    await connected.settled();
    connected.disconnect();
    await connected.closed;
    await publishEach(publisher, ['c', 'd']);
    const back = await testBroker.session(away, persistent);
    expect(back.connack?.sessionPresent).toBe(true);
    expect(payloads(await back.settled())).toEqual(['c', 'd']);
  });

  it('[3.10.4] is left by UNSUBSCRIBE', async () => {
    const client = await subscriber();
    await client.subscribe({ topic: SHARED, qos: 1 });
    client.send({ cmd: 'unsubscribe', messageId: 12, unsubscriptions: [SHARED, EVENTS] });
    expect(await client.next()).toMatchObject({ granted: [0, ReasonCode.noSubscriptionExisted] });
    const publisher = await device();
    await publisher.publish(EVENT, 'x', { qos: 1 });
    expect(await publisher.nextOf('puback')).toMatchObject({ reasonCode: ReasonCode.noMatchingSubscribers });
  });

  it('[MQTT-3.8.3-4] with No Local ends the connection', async () => {
    const client = await subscriber();
    client.send({
      cmd: 'subscribe',
      messageId: 7,
      subscriptions: [{ topic: SHARED, qos: 1, nl: true, rap: false, rh: 0 }],
    });
    expect((await client.disconnected())?.reasonCode).toBe(ReasonCode.protocolError);
  });

  it.each(['$share/g', '$share//a', '$share/+/a', '$share/g/'])(
    '[MQTT-4.8.2-1, MQTT-4.8.2-2] without a group and a filter, %s, ends the connection',
    async (filter) => {
      const client = await subscriber();
      client.send({ cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: filter, qos: 1 }] });
      expect((await client.disconnected())?.reasonCode).toBeOneOf([
        ReasonCode.malformedPacket,
        ReasonCode.protocolError,
      ]);
    },
  );

  describe('with QoS 2', () => {
    const publish2 = async () => {
      const publisher = await device();
      await publisher.publish(EVENT, 'x', { qos: 2 });
      await publisher.nextOf('pubrec');
      publisher.send({ cmd: 'pubrel', messageId: 1 });
      await publisher.settled();
    };

    it('[MQTT-4.8.2-4] completes what it began with a member when this one returns', async () => {
      const own = testBroker.enroll(service('returns'));
      const persistent = { clientId: 'returns', protocolVersion: 5, clean: false } as const;
      const connect = () => testBroker.session(own, { ...persistent, properties: { sessionExpiryInterval: 600 } });
      const first = await connect();
      await first.subscribe({ topic: SHARED, qos: 2 });
      await publish2();
      const begun = (await first.nextOf('publish')) as IPublishPacket;
      const other = await subscriber('other');
      await other.subscribe({ topic: SHARED, qos: 2 });
      first.destroy();
      await testBroker.event('disconnected', ({ clientId }) => clientId === 'returns');
      expect(payloads(await other.settled())).toEqual([]);
      const back = await connect();
      expect(await back.next()).toMatchObject({ cmd: 'publish', messageId: begun.messageId, dup: true });
      expect(payloads(await other.settled())).toEqual([]);
    });

    it('[MQTT-4.8.2-5] does not send what it began with a member to another one when the session ends', async () => {
      const first = await subscriber('ends');
      await first.subscribe({ topic: SHARED, qos: 2 });
      await publish2();
      await first.nextOf('publish');
      const other = await subscriber('other');
      await other.subscribe({ topic: SHARED, qos: 2 });
      first.destroy();
      await testBroker.event('disconnected', ({ clientId }) => clientId === 'ends');
      expect(payloads(await other.settled())).toEqual([]);
    });
  });
});
