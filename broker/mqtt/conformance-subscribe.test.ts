/** SUBSCRIBE and UNSUBSCRIBE through mTLS, clause by clause. Statement numbers are those of MQTT 5. */

import { ReasonCode } from '@rollcall/protocol';
import type { IPublishPacket } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RawClient, RequestedFilter } from '../../test/fixtures/broker/raw-client.ts';
import { messages, payloads } from '../../test/fixtures/broker/received-packets.ts';
import { TestBroker } from '../../test/fixtures/broker/test-broker.ts';

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
