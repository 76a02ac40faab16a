/** SUBSCRIBE, UNSUBSCRIBE and shared subscriptions through mTLS, clause by clause. Statement numbers are those of MQTT 5. */

import type { IPublishPacket } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RawClient, RequestedFilter } from '../../test/fixtures/broker/raw-client.ts';
import { messages, payloads } from '../../test/fixtures/broker/received-packets.ts';
import { service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { ReasonCode } from './reason-codes.ts';

const EVENT = 'devices/dev-1/events/door';
const EVENTS = 'devices/+/events/+';
const TWIN = 'devices/dev-1/twin/reported';
const TWINS = 'devices/+/twin/reported';

let testBroker: TestBroker;
beforeEach(async () => {
  testBroker = await TestBroker.start({ limits: { subscriptions: 5 } });
});
afterEach(() => testBroker.close());

const device = (id = 'dev-1') => testBroker.connectDevice(id, { protocolVersion: 5 });
const subscriber = (name = 'reader', options = {}) =>
  testBroker.connectService(name, { protocolVersion: 5, ...options });

const published = (packets: readonly { cmd: string }[]) =>
  packets.filter((packet): packet is IPublishPacket => packet.cmd === 'publish');

describe('SUBACK', () => {
  it.each<[string, RequestedFilter, number]>([
    ['MQTT-3.8.4-7', { topic: EVENTS, qos: 2 }, 2],
    ['MQTT-3.8.4-7', { topic: EVENTS, qos: 1 }, 1],
    ['3.9.3', { topic: '#', qos: 1 }, ReasonCode.notAuthorized],
    ['3.9.3', { topic: '$SYS/#', qos: 0 }, ReasonCode.notAuthorized],
    ['4.8.2', { topic: `$share/group/${EVENTS}`, qos: 1 }, 1],
    ['4.8.2', { topic: '$share/group/#', qos: 1 }, ReasonCode.notAuthorized],
    ['3.9.3', { topic: `$queue/${EVENTS}`, qos: 1 }, ReasonCode.notAuthorized],
  ])('[%s] answers %j with %d, and the connection stays', async (_clause, filter, code) => {
    const client = await subscriber();
    expect(await client.subscribe(filter, { topic: TWINS, qos: 0 })).toEqual([code, 0]);
  });

  it('[3.9.3] answers 0x80 in MQTT 3.1.1 where MQTT 5 has a reason', async () => {
    const client = await testBroker.connectService('reader');
    expect(await client.subscribe('#', EVENTS)).toEqual([0x80, 0]);
  });

  it('[3.9.3] answers 0x97 for each subscription above the limit', async () => {
    const client = await subscriber();
    const filters = ['a', 'b', 'c', 'd', 'e', 'f'].map((id) => `devices/${id}/events/+`);
    expect(await client.subscribe(...filters)).toEqual([0, 0, 0, 0, 0, ReasonCode.quotaExceeded]);
    expect(await client.subscribe(filters[0] as string)).toEqual([0]);
  });

  it('[MQTT-3.11.3-1, 3.11.3] UNSUBACK says for each filter whether there was a subscription', async () => {
    const client = await subscriber();
    await client.subscribe(EVENTS);
    client.send({ cmd: 'unsubscribe', messageId: 12, unsubscriptions: [EVENTS, TWINS] });
    expect(await client.next()).toMatchObject({
      cmd: 'unsuback',
      messageId: 12,
      granted: [0, ReasonCode.noSubscriptionExisted],
    });
    const publisher = await device();
    await publisher.publish(EVENT, 'x', { qos: 1 });
    await publisher.settled();
    expect(messages(await client.settled())).toEqual([]);
  });
});

describe('a subscription option', () => {
  it('[MQTT-3.8.3-3] No Local keeps the messages of a client from itself alone', async () => {
    const own = { subscribe: [EVENTS], publish: [EVENTS], receive: [EVENTS], connect: ['*'], retain: [] };
    testBroker.setPolicy('service/*', own);
    const client = await subscriber('both');
    const other = await subscriber('other');
    await client.subscribe({ topic: EVENTS, qos: 1, nl: true });
    await other.subscribe({ topic: EVENTS, qos: 1, nl: false });
    await client.publish(EVENT, 'from both', { qos: 1 });
    await other.publish(EVENT, 'from other', { qos: 1 });
    await Promise.all([client.settled(), other.settled()]);
    const heard = async (of: RawClient) => {
      await of.settled();
      return payloads(of.packets).sort();
    };
    expect(await heard(client)).toEqual(['from other']);
    expect(await heard(other)).toEqual(['from both', 'from other']);
  });

  it('[MQTT-3.3.1-12, MQTT-3.3.1-13] Retain As Published decides on the RETAIN flag of live messages', async () => {
    const [with1, without, old] = [
      await subscriber('with'),
      await subscriber('without'),
      await testBroker.connectService('old'),
    ];
    await with1.subscribe({ topic: TWINS, qos: 0, rap: true });
    await without.subscribe({ topic: TWINS, qos: 0, rap: false });
    await old.subscribe(TWINS);
    const publisher = await device();
    await publisher.publish(TWIN, '{}', { qos: 1, retain: true });
    await publisher.settled();
    const flags: (boolean | undefined)[] = [];
    for (const client of [with1, without, old]) flags.push((await client.nextOf('publish'))?.retain);
    expect(flags).toEqual([true, false, false]);
  });

  it.each<[number, string, string[], string[]]>([
    [0, 'sends retained messages at each SUBSCRIBE', ['{}'], ['{}']],
    [1, 'sends retained messages for a new subscription alone', ['{}'], []],
    [2, 'sends no retained messages', [], []],
  ])('[MQTT-3.3.1-9..11] Retain Handling %d %s', async (rh, _states, first, again) => {
    const publisher = await device();
    await publisher.publish(TWIN, '{}', { qos: 1, retain: true });
    await publisher.settled();
    const client = await subscriber();
    const filter = { topic: TWINS, qos: 1 as const, rh, rap: true };
    await client.subscribe(filter);
    const received = published(await client.settled());
    expect(received.map(({ payload, retain }) => [String(payload), retain])).toEqual(first.map((text) => [text, true]));
    await client.subscribe(filter);
    expect(payloads(await client.settled())).toEqual(again);
  });

  it('[MQTT-3.8.4-3, MQTT-3.8.4-4] of a repeated SUBSCRIBE replaces the earlier one', async () => {
    const client = await subscriber();
    await client.subscribeWithIdentifier(1, { topic: EVENTS, qos: 0 });
    await client.subscribeWithIdentifier(2, { topic: EVENTS, qos: 1 });
    const publisher = await device();
    await publisher.publish(EVENT, 'x', { qos: 1 });
    await publisher.settled();
    const received = published(await client.settled());
    expect(received.map(({ qos, properties }) => [qos, properties?.subscriptionIdentifier])).toEqual([[1, 2]]);
  });
});

describe('a subscription identifier', () => {
  it('[MQTT-3.3.4-3..5] comes with each message that its subscription matches, all of them for overlapping ones', async () => {
    const client = await subscriber();
    await client.subscribeWithIdentifier(7, { topic: EVENTS, qos: 1 });
    await client.subscribeWithIdentifier(268_435_455, { topic: 'devices/dev-1/events/+', qos: 1 });
    await client.subscribe({ topic: 'devices/+/events/door', qos: 1 });
    const publisher = await device();
    await publisher.publish(EVENT, 'x', { qos: 1 });
    await publisher.settled();
    const received = published(await client.settled());
    // One copy with all identifiers, or one copy for each subscription.
    const identifiers = received.flatMap(({ properties }) => properties?.subscriptionIdentifier ?? []);
    expect(identifiers.sort((a, b) => a - b)).toEqual([7, 268_435_455]);
  });

  it('[MQTT-3.3.4-6] in a PUBLISH of a client ends the connection', async () => {
    const client = await device();
    await client.publish(EVENT, 'x', { properties: { subscriptionIdentifier: 3 } });
    expect((await client.disconnected())?.reasonCode).toBe(ReasonCode.protocolError);
  });

  it('[4.8.2] belongs to the member of a shared subscription that receives the message', async () => {
    const [one, two] = [await subscriber('one'), await subscriber('two')];
    await one.subscribeWithIdentifier(1, { topic: `$share/g/${EVENTS}`, qos: 1 });
    await two.subscribeWithIdentifier(2, { topic: `$share/g/${EVENTS}`, qos: 1 });
    const publisher = await device();
    for (let messageId = 1; messageId <= 4; messageId += 1) await publisher.publish(EVENT, 'x', { qos: 1, messageId });
    await publisher.settled();
    for (const [client, identifier] of [
      [one, 1],
      [two, 2],
    ] as const) {
      const received = published(await client.settled());
      expect(received.map(({ properties }) => properties?.subscriptionIdentifier)).toEqual([identifier, identifier]);
    }
  });
});

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

  it('[MQTT-4.8.2-6, 4.8.2] gives what a member did not acknowledge to another one when it leaves', async () => {
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

  it('[MQTT-4.8.2-5] does not send again what a member refused in PUBACK', async () => {
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
});
