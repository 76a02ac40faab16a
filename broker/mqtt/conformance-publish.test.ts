/** PUBLISH and its acknowledgements through mTLS, clause by clause. Statement numbers are those of MQTT 5. */

import { ReasonCode } from '@rollcall/protocol';
import type { IPublishPacket } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PublishOptions, RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { messages } from '../../test/fixtures/broker/received-packets.ts';
import { TestBroker } from '../../test/fixtures/broker/test-broker.ts';

const TELEMETRY = 'devices/dev-1/telemetry/temp';
const EVENT = 'devices/dev-1/events/door';
const FORBIDDEN = 'devices/dev-2/telemetry/temp';

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

describe('the properties of a message', () => {
  const properties = {
    payloadFormatIndicator: true,
    contentType: 'text/plain; charset=utf-8',
    responseTopic: 'devices/dev-1/responses/r1',
    correlationData: Buffer.from([0, 1, 255]),
    userProperties: { site: ['north', 'south'], unit: 'C' },
  };

  it.each([0, 1, 2] as const)(
    '[MQTT-3.3.2-4, MQTT-3.3.2-15..18, MQTT-3.3.2-20] reach a receiver unaltered with QoS %d',
    async (qos) => {
      const listener = await listen();
      const client = await device();
      await client.publish(EVENT, 'warm', { qos, properties });
      if (qos === 2) {
        await client.nextOf('pubrec');
        client.send({ cmd: 'pubrel', messageId: 1 });
      }
      expect(await nextMessage(listener)).toMatchObject({ topic: EVENT, qos, properties });
    },
  );

  it('[3.3.2.3] do not reach a receiver of MQTT 3.1.1, which gets the message', async () => {
    const listener = await listen(4);
    const client = await device();
    await client.publish(EVENT, 'warm', { qos: 1, properties });
    const message = await nextMessage(listener);
    expect(message).toMatchObject({ topic: EVENT, payload: Buffer.from('warm'), qos: 1 });
    expect(message).not.toHaveProperty('properties');
  });

  it('[3.3.2] are none when a client of MQTT 3.1.1 publishes', async () => {
    const listener = await listen();
    const client = await testBroker.connectDevice('dev-1');
    await client.publish(EVENT, 'warm', { qos: 1 });
    expect((await nextMessage(listener))?.properties ?? {}).toEqual({});
  });

  it('[MQTT-3.3.2-6] include the message expiry interval less the time that the message waited', async () => {
    const service = testBroker.enroll({ kind: 'service', name: 'sleeper' as never });
    const persistent = { clientId: 'sleeper', protocolVersion: 5, clean: false } as const;
    const session = { ...persistent, properties: { sessionExpiryInterval: 3_600 } };
    const sleeper = await testBroker.session(service, session);
    await sleeper.subscribe({ topic: 'devices/+/events/+', qos: 1 });
    sleeper.disconnect();
    await sleeper.closed;
    const client = await device();
    await client.publish(EVENT, 'short', { qos: 1, properties: { messageExpiryInterval: 10 } });
    await client.publish(EVENT, 'long', { qos: 1, messageId: 2, properties: { messageExpiryInterval: 100 } });
    await client.settled();
    now += 30_000;
    const back = await testBroker.session(service, session);
    expect(await nextMessage(back)).toMatchObject({
      payload: Buffer.from('long'),
      properties: { messageExpiryInterval: 70 },
    });
  });

  it('[MQTT-3.3.2-5] end a retained message at its expiry', async () => {
    const operator = await testBroker.connectService('operator', { protocolVersion: 5 });
    const twin = 'devices/dev-1/twin/desired';
    await operator.publish(twin, 'x', { qos: 1, retain: true, properties: { messageExpiryInterval: 60 } });
    await operator.settled();
    now += 20_000;
    const first = await device();
    await first.subscribe(twin);
    expect(await nextMessage(first)).toMatchObject({ retain: true, properties: { messageExpiryInterval: 40 } });
    now += 41_000;
    const second = await device();
    await second.subscribe(twin);
    expect(messages(await second.settled())).toEqual([]);
  });
});

describe('a topic alias', () => {
  const alias = (topicAlias: number) => ({ properties: { topicAlias } });

  it('[3.3.2.3.4] stands for the topic that it was sent with, until it is set anew', async () => {
    const listener = await listen();
    const client = await device();
    await client.publish(EVENT, '1', alias(3));
    await client.publish('', '2', alias(3));
    await client.publish(TELEMETRY, '3', alias(3));
    await client.publish('', '4', { qos: 1, ...alias(3) });
    await client.settled();
    expect(messages(await listener.settled())).toEqual([
      `${EVENT} 1`,
      `${EVENT} 2`,
      `${TELEMETRY} 3`,
      `${TELEMETRY} 4`,
    ]);
    for (const packet of listener.packets) {
      if (packet.cmd === 'publish') expect(packet.properties ?? {}).not.toHaveProperty('topicAlias');
    }
  });

  it('[MQTT-3.3.2-7] of an earlier connection means nothing', async () => {
    const before = await device();
    await before.publish(EVENT, '1', { qos: 1, ...alias(1) });
    await before.settled();
    before.disconnect();
    await before.closed;
    const client = await device();
    await client.publish('', '2', alias(1));
    expect((await client.disconnected())?.reasonCode).toBe(ReasonCode.protocolError);
  });

  it.each<[string, string, PublishOptions, string, number]>([
    ['MQTT-3.3.2-8', 'zero', alias(0), EVENT, ReasonCode.topicAliasInvalid],
    ['MQTT-3.3.2-9', 'above the maximum', alias(17), EVENT, ReasonCode.topicAliasInvalid],
    ['3.3.2.3.4', 'unknown, without a topic', alias(2), '', ReasonCode.protocolError],
    ['3.3.2.1', 'absent, without a topic', { properties: {} }, '', ReasonCode.protocolError],
  ])('[%s] that is %s ends the connection', async (_clause, _states, options, topic, code) => {
    const listener = await listen();
    const client = await device();
    await client.publish(topic, 'x', options);
    expect((await client.disconnected())?.reasonCode).toBe(code);
    await client.closed;
    expect(messages(await listener.settled())).toEqual([]);
  });

  it('[MQTT-3.1.2-26, MQTT-3.1.2-27] is used towards a client up to its maximum, and not without one', async () => {
    const [with1, without] = [await listen(5, { topicAliasMaximum: 1 }), await listen(4)];
    const plain = await testBroker.connectService('plain', { protocolVersion: 5 });
    await plain.subscribe('devices/+/events/+');
    const client = await device();
    const topics = [EVENT, 'devices/dev-1/events/other', EVENT, 'devices/dev-1/events/other', EVENT];
    for (const [index, topic] of topics.entries()) await client.publish(topic, String(index));
    await client.settled();
    // The topics as the receiver resolves them.
    const known = new Map<number, string>();
    const resolved: string[] = [];
    for (const packet of await with1.settled()) {
      if (packet.cmd !== 'publish') continue;
      const topicAlias = packet.properties?.topicAlias;
      if (topicAlias !== undefined) expect(topicAlias).toBe(1);
      if (topicAlias !== undefined && packet.topic !== '') known.set(topicAlias, packet.topic);
      resolved.push(packet.topic === '' ? (known.get(topicAlias as number) as string) : packet.topic);
    }
    expect(resolved).toEqual(topics);
    for (const receiver of [without, plain]) {
      for (const packet of await receiver.settled()) {
        if (packet.cmd === 'publish')
          expect([packet.topic === '', packet.properties?.topicAlias]).toEqual([false, undefined]);
      }
    }
  });
});

describe('PUBLISH is answered', () => {
  interface Answered {
    readonly clause: string;
    readonly states: string;
    readonly topic: string;
    readonly payload?: Buffer;
    readonly options?: PublishOptions;
    readonly code: number;
  }

  const cases: Answered[] = [
    { clause: '3.4.2.1', states: '0x00 for telemetry, which is stored', topic: TELEMETRY, code: 0 },
    {
      clause: '3.4.2.1',
      states: '0x10 for an event without a subscriber',
      topic: EVENT,
      code: ReasonCode.noMatchingSubscribers,
    },
    {
      clause: '3.4.2.1',
      states: '0x87 for a topic that is not allowed',
      topic: FORBIDDEN,
      code: ReasonCode.notAuthorized,
    },
    {
      clause: '3.4.2.1',
      states: '0x87 for a topic that may not be retained',
      topic: TELEMETRY,
      options: { retain: true },
      code: ReasonCode.notAuthorized,
    },
    {
      clause: '3.4.2.1',
      states: '0x87 for a topic of the server',
      topic: '$SYS/broker/version',
      code: ReasonCode.notAuthorized,
    },
    {
      clause: '3.3.2.3.2',
      states: '0x99 for a payload that is not UTF-8 as its format indicator says',
      topic: TELEMETRY,
      payload: Buffer.from([0xc3, 0x28]),
      options: { properties: { payloadFormatIndicator: true } },
      code: ReasonCode.payloadFormatInvalid,
    },
    {
      clause: '3.3.2.3.2',
      states: '0x00 for a payload that is UTF-8 as its format indicator says',
      topic: TELEMETRY,
      payload: Buffer.from('warm ä'),
      options: { properties: { payloadFormatIndicator: true } },
      code: 0,
    },
  ];

  for (const qos of [1, 2] as const) {
    it.each(cases)(`[$clause] with $states (QoS ${qos}), and the connection stays`, async (answered) => {
      const { topic, payload = 'x', options, code } = answered;
      const client = await device();
      await client.publish(topic, payload, { ...options, qos, messageId: 9 });
      const type = qos === 1 ? 'puback' : 'pubrec';
      expect(await client.next()).toMatchObject({ cmd: type, messageId: 9, reasonCode: code });
      // The packet identifier is free after an error [MQTT-4.3.3-4 does not ask for PUBREL], and in use by QoS 2 otherwise.
      if (qos === 2 && code < 0x80) {
        client.send({ cmd: 'pubrel', messageId: 9 });
        expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 9, reasonCode: 0 });
      }
      await client.publish(TELEMETRY, 'after', { qos, messageId: 9 });
      expect(await client.next()).toMatchObject({ cmd: type, messageId: 9, reasonCode: 0 });
      const stored = testBroker.accepted.map((message) => message.payload.toString());
      expect(stored).toEqual(code === 0 ? [payload.toString(), 'after'] : ['after']);
    });
  }

  it('[3.3.4] not at all with QoS 0: a message that is not allowed is dropped, and the connection stays', async () => {
    const listener = await listen();
    const client = await device();
    await client.publish(FORBIDDEN, 'forged');
    await client.publish(TELEMETRY, 'own', { qos: 1 });
    expect(await client.next()).toMatchObject({ cmd: 'puback', reasonCode: 0 });
    expect(messages(await listener.settled())).toEqual([`${TELEMETRY} own`]);
    expect(await testBroker.event('acl_denied')).toMatchObject({ verb: 'publish', topic: FORBIDDEN });
  });

  it('[MQTT-3.3.5-2, MQTT 3.1.1] by the end of the connection when a client of MQTT 3.1.1 may not publish', async () => {
    const client = await testBroker.connectDevice('dev-1');
    await client.publish(FORBIDDEN, 'forged', { qos: 1 });
    await client.closed;
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack']);
  });

  it('[3.1.2.11.7] without a reason string when the client wants no problem information', async () => {
    const client = await testBroker.connectDevice('dev-1', {
      protocolVersion: 5,
      properties: { requestProblemInformation: false },
    });
    await client.publish(FORBIDDEN, 'x', { qos: 1 });
    const refused = await client.nextOf('puback');
    expect(refused?.reasonCode).toBe(ReasonCode.notAuthorized);
    expect(refused?.properties ?? {}).not.toHaveProperty('reasonString');
  });
});
