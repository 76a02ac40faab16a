/** The codec beside mqtt-packet: what one writes the other reads, in both directions and for both versions. */

import fc from 'fast-check';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import {
  encodeConnack,
  encodeConnect,
  encodeDisconnect,
  encodePuback,
  encodePublish,
  encodeSuback,
  encodeSubscribe,
  encodeUnsuback,
  encodeUnsubscribe,
  MalformedPacket,
  type MqttVersion,
  type PacketProperties,
  PacketReader,
  PINGREQ,
  PINGRESP,
  type Publish,
  type ReceivedPacket,
} from './index.ts';

/** What mqtt-packet reads in these bytes. */
function readByOthers(version: MqttVersion, bytes: Buffer): Record<string, unknown> {
  const packets: Packet[] = [];
  const parser = mqttPacket.parser({ protocolVersion: version });
  parser.on('packet', (packet) => packets.push(packet));
  parser.on('error', (error) => {
    throw error;
  });
  parser.parse(bytes);
  expect(packets).toHaveLength(1);
  return packets[0] as unknown as Record<string, unknown>;
}

function readAll(version: MqttVersion | undefined, ...chunks: readonly Buffer[]): readonly ReceivedPacket[] {
  const reader = new PacketReader({ version, maxBytes: 1_000_000 });
  const read: ReceivedPacket[] = [];
  for (const chunk of chunks) {
    reader.read(chunk, (packet) =>
      read.push(packet.kind === 'publish' ? { ...packet, payload: Buffer.from(packet.payload) } : packet),
    );
  }
  return read;
}

function readOne(version: MqttVersion | undefined, bytes: Buffer): ReceivedPacket {
  const [packet, ...more] = readAll(version, bytes);
  expect(more).toEqual([]);
  return packet as ReceivedPacket;
}

const texts = fc.string({ maxLength: 40, unit: 'grapheme' }).filter((text) => !text.includes('\0'));
const seconds = fc.integer({ min: 1, max: 0xffff_ffff });
const userProperties = fc.array(fc.tuple(texts, texts), { minLength: 1, maxLength: 6 });

const publishProperties: fc.Arbitrary<PacketProperties | undefined> = fc.option(
  fc
    .record(
      {
        payloadFormatIndicator: fc.constantFrom<0 | 1>(0, 1),
        messageExpiryInterval: seconds,
        contentType: texts,
        responseTopic: texts,
        correlationData: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
        topicAlias: fc.integer({ min: 1, max: 0xffff }),
        userProperties,
      },
      { requiredKeys: [] },
    )
    .filter((properties) => Object.keys(properties).length > 0),
  { nil: undefined },
);

const publishes = fc
  .record({
    topic: fc.string({ minLength: 1, maxLength: 80, unit: 'grapheme' }).filter((text) => !/[+#\0]/.test(text)),
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom(16_380, 17_000).map((n) => new Uint8Array(n)),
    ),
    qos: fc.constantFrom<0 | 1>(0, 1),
    dup: fc.boolean(),
    retain: fc.boolean(),
    packetId: fc.integer({ min: 1, max: 0xffff }),
    properties: publishProperties,
  })
  .map((publish) => ({
    ...publish,
    payload: Buffer.from(publish.payload),
    dup: publish.dup && publish.qos === 1,
    packetId: publish.qos === 0 ? 0 : publish.packetId,
  }));

/** As mqtt-packet represents them: by name, which loses the order between names. */
function asOthersDo({ userProperties: pairs, ...rest }: PacketProperties): object {
  if (pairs === undefined) return rest;
  const byName = Object.create(null) as Record<string, string | string[]>;
  for (const [name, value] of pairs) {
    const before = byName[name];
    if (before === undefined || before === '') byName[name] = value;
    else byName[name] = [...(Array.isArray(before) ? before : [before]), value];
  }
  return { ...rest, userProperties: byName };
}

const versions: readonly MqttVersion[] = [4, 5];

describe.each(versions)('with protocol level %i', (version) => {
  it('another implementation reads every message as it was meant', () => {
    fc.assert(
      fc.property(publishes, (publish) => {
        const { packetId, properties, ...rest } = publish;
        const read = readByOthers(version, encodePublish(version, publish));
        expect(read).toMatchObject({ cmd: 'publish', ...rest, ...(packetId === 0 ? {} : { messageId: packetId }) });
        if (version === 5 && properties !== undefined) {
          const { payloadFormatIndicator: format, ...others } = asOthersDo(properties) as PacketProperties;
          const flag = format === undefined ? {} : { payloadFormatIndicator: format === 1 };
          expect(read.properties).toEqual({ ...others, ...flag });
        } else {
          expect(read.properties).toBeUndefined();
        }
      }),
      { numRuns: 150 },
    );
  });

  it('messages are read as they were written, however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(publishes, { maxLength: 4 }), fc.array(fc.nat(400)), (written, cuts) => {
        const bytes = Buffer.concat(written.map((publish) => encodePublish(version, publish)));
        const chunks: Buffer[] = [];
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          chunks.push(bytes.subarray(at, at + cut));
          at = Math.min(bytes.length, at + cut);
        }
        expect(readAll(version, ...chunks)).toEqual(
          written.map((publish) => ({
            kind: 'publish',
            ...publish,
            properties: version === 5 ? publish.properties : undefined,
          })),
        );
      }),
      { numRuns: 100 },
    );
  });

  it('messages of another implementation are read', () => {
    fc.assert(
      fc.property(publishes, ({ packetId, properties, ...publish }) => {
        const { userProperties: _, payloadFormatIndicator: __, ...others } = properties ?? {};
        const bytes = mqttPacket.generate(
          { cmd: 'publish', messageId: packetId, ...publish, properties: others } as Packet,
          { protocolVersion: version },
        );
        expect(readOne(version, bytes)).toEqual({
          kind: 'publish',
          ...publish,
          packetId,
          properties: version === 5 && Object.keys(others).length > 0 ? others : undefined,
        });
      }),
      { numRuns: 100 },
    );
  });

  it('another implementation reads the other packets of a device', () => {
    const connect = { version, clientId: 'dev-7', cleanStart: false, keepAlive: 1_200 } as const;
    expect(readByOthers(version, encodeConnect(connect))).toMatchObject({
      ...{ cmd: 'connect', protocolVersion: version, clientId: 'dev-7', clean: false, keepalive: 1_200 },
    });
    expect(readByOthers(version, encodeConnect({ ...connect, cleanStart: true }))).toMatchObject({ clean: true });
    const properties = { willDelayInterval: 5, userProperties: [['site', 'hall']] } as const;
    const will = { topic: 'a/b', payload: 'é', qos: 1, retain: true, properties } as const;
    expect(readByOthers(version, encodeConnect({ ...connect, will }))).toMatchObject({
      will: { topic: 'a/b', payload: Buffer.from('é'), qos: 1, retain: true },
    });
    expect(
      (readByOthers(version, encodeConnect({ ...connect, will })).will as { properties?: unknown }).properties,
    ).toEqual(version === 4 ? undefined : { willDelayInterval: 5, userProperties: { site: 'hall' } });
    expect(readOne(undefined, encodeConnect({ ...connect, will }))).toMatchObject({ hasWill: true, clientId: 'dev-7' });
    const filters = [
      { filter: 'a/+', qos: 1 },
      { filter: 'b', qos: 0 },
    ] as const;
    expect(readByOthers(version, encodeSubscribe(version, 513, filters))).toMatchObject({
      ...{ cmd: 'subscribe', messageId: 513 },
      subscriptions: [
        { topic: 'a/+', qos: 1 },
        { topic: 'b', qos: 0 },
      ],
    });
    expect(readByOthers(version, encodeUnsubscribe(version, 9, ['a', 'b']))).toMatchObject({
      ...{ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['a', 'b'] },
    });
    expect(readByOthers(version, encodePuback(version, 0xfffe))).toMatchObject({ cmd: 'puback', messageId: 0xfffe });
    expect(readByOthers(version, PINGREQ)).toMatchObject({ cmd: 'pingreq' });
    expect(readByOthers(version, encodeDisconnect(version))).toMatchObject({ cmd: 'disconnect' });
  });

  it('another implementation reads the packets of a server', () => {
    const connack = readByOthers(version, encodeConnack(version, { sessionPresent: true, reasonCode: 0 }));
    expect(connack).toMatchObject({ cmd: 'connack', sessionPresent: true });
    expect(connack[version === 5 ? 'reasonCode' : 'returnCode']).toBe(0);
    expect(readByOthers(version, encodeSuback(version, 3, [1, 0x87]))).toMatchObject({
      ...{ cmd: 'suback', messageId: 3, granted: [1, version === 5 ? 0x87 : 0x80] },
    });
    const unsuback = readByOthers(version, encodeUnsuback(version, 4, [0x11]));
    expect(unsuback).toMatchObject({ cmd: 'unsuback', messageId: 4 });
    if (version === 5) expect(unsuback).toMatchObject({ granted: [0x11] });
    expect(readByOthers(version, PINGRESP)).toMatchObject({ cmd: 'pingresp' });
  });

  it('the packets of another implementation are read', () => {
    const options = { protocolVersion: version };
    const others = (packet: object): ReceivedPacket => readOne(version, mqttPacket.generate(packet as Packet, options));
    const suback = { cmd: 'suback', messageId: 3, granted: [1, 128] };
    expect(others(suback)).toMatchObject({ kind: 'suback', packetId: 3, reasonCodes: [1, 128] });
    expect(others({ cmd: 'puback', messageId: 258 })).toEqual({ kind: 'puback', packetId: 258, reasonCode: 0 });
    expect(others({ cmd: 'connack', returnCode: 5, reasonCode: 5, sessionPresent: false })).toMatchObject({
      ...{ kind: 'connack', reasonCode: 5, sessionPresent: false },
    });
    const subscriptions = [{ topic: 'a/#', qos: 1, nl: true, rap: true, rh: 2 }];
    expect(others({ cmd: 'subscribe', messageId: 7, subscriptions })).toMatchObject({
      ...{ kind: 'subscribe', packetId: 7 },
      subscriptions: [
        {
          ...{ filter: 'a/#', qos: 1 },
          ...{ noLocal: version === 5, retainAsPublished: version === 5, retainHandling: version === 5 ? 2 : 0 },
        },
      ],
    });
    expect(others({ cmd: 'unsubscribe', messageId: 8, unsubscriptions: ['a', 'b'] })).toMatchObject({
      ...{ kind: 'unsubscribe', packetId: 8, filters: ['a', 'b'] },
    });
    expect(others({ cmd: 'pingreq' })).toEqual({ kind: 'pingreq' });
    expect(others({ cmd: 'disconnect' })).toMatchObject({ kind: 'disconnect', reasonCode: 0 });
  });

  it('CONNECT of another implementation is read before the version is known, whatever else it has', () => {
    const connect = {
      ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: version, clientId: 'app', clean: true, keepalive: 30 },
      ...{ username: 'u', password: Buffer.from('p') },
    };
    const will = { topic: 'w', payload: Buffer.from('gone'), qos: 1, retain: true };
    const read = (packet: object): ReceivedPacket =>
      readOne(undefined, mqttPacket.generate(packet as Packet, { protocolVersion: version }));
    const expected = { kind: 'connect', version, clientId: 'app', cleanStart: true, keepAlive: 30 };
    expect(read(connect)).toMatchObject({ ...expected, hasWill: false });
    expect(read({ ...connect, will })).toMatchObject({ ...expected, hasWill: true });
  });
});

describe('properties of MQTT 5', () => {
  const connackProperties: PacketProperties = {
    ...{ sessionExpiryInterval: 3_600, receiveMaximum: 20, maximumPacketSize: 65_536, topicAliasMaximum: 16 },
    ...{ assignedClientIdentifier: 'dev-7', reasonString: 'ä reason', serverKeepAlive: 30, serverReference: 'other' },
    ...{ responseInformation: 'r', authenticationMethod: 'm', authenticationData: Buffer.from([1, 0, 2]) },
  };
  const flags = {
    maximumQos: 1,
    retainAvailable: 1,
    wildcardSubscriptionAvailable: 1,
    subscriptionIdentifiersAvailable: 1,
    sharedSubscriptionAvailable: 1,
  } as const;

  it('in CONNACK are read by another implementation, and read from it', () => {
    const packet = { sessionPresent: false, reasonCode: 0, properties: { ...connackProperties, ...flags } };
    const { maximumQos, ...otherFlags } = flags;
    const booleans = Object.fromEntries(Object.entries(otherFlags).map(([name]) => [name, true]));
    const theirs = { ...connackProperties, maximumQoS: maximumQos, ...booleans };
    const bytes = encodeConnack(5, packet);
    expect(readByOthers(5, bytes).properties).toEqual(theirs);
    expect(readOne(5, bytes)).toEqual({ kind: 'connack', ...packet });
    const generated = mqttPacket.generate(
      { cmd: 'connack', reasonCode: 0, sessionPresent: false, properties: connackProperties } as never,
      { protocolVersion: 5 },
    );
    expect(readOne(5, generated)).toEqual({ kind: 'connack', ...packet, properties: connackProperties });
  });

  it('in CONNECT, SUBSCRIBE, PUBACK and DISCONNECT are read by another implementation', () => {
    const properties = {
      ...{ sessionExpiryInterval: 60, receiveMaximum: 5, maximumPacketSize: 1_000, topicAliasMaximum: 3 },
      ...({ requestProblemInformation: 1, requestResponseInformation: 1 } as const),
    };
    const connect = { version: 5, clientId: 'a', cleanStart: true, keepAlive: 1, properties } as const;
    expect(readByOthers(5, encodeConnect(connect)).properties).toEqual({
      ...properties,
      ...{ requestProblemInformation: true, requestResponseInformation: true },
    });
    expect(readOne(undefined, encodeConnect(connect))).toMatchObject({ properties });
    const subscribe = encodeSubscribe(
      5,
      1,
      [{ filter: 'a', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 1 }],
      { subscriptionIdentifiers: [268_435_455] },
    );
    expect(readByOthers(5, subscribe)).toMatchObject({
      ...{ properties: { subscriptionIdentifier: 268_435_455 }, subscriptions: [{ nl: true, rap: true, rh: 1 }] },
    });
    const reason = { reasonString: 'not yours' };
    expect(readByOthers(5, encodePuback(5, 1, 0x87, reason))).toMatchObject({ reasonCode: 0x87, properties: reason });
    expect(readOne(5, encodePuback(5, 1, 0x87))).toMatchObject({ packetId: 1, reasonCode: 0x87 });
    expect(readByOthers(5, encodeDisconnect(5, 0x98, reason))).toMatchObject({ reasonCode: 0x98, properties: reason });
    expect(readOne(5, encodeDisconnect(5, 0x8e))).toEqual({ kind: 'disconnect', reasonCode: 0x8e });
  });

  it('keep the order of user properties, names that occur twice and names that look like numbers', () => {
    const pairs = [
      ['b', '1'],
      ['10', '2'],
      ['a', '3'],
      ['b', ''],
      ['__proto__', '4'],
    ] as const;
    const bytes = encodePublish(5, {
      ...{ topic: 't', payload: 'text', qos: 0, packetId: 0, properties: { userProperties: pairs } },
    });
    expect(readOne(5, bytes)).toMatchObject({ properties: { userProperties: pairs } });
  });
});

it('a refusal of MQTT 3.1.1 is read as the answer to CONNECT of MQTT 5, and an acceptance is not', () => {
  const refusal = mqttPacket.generate({ cmd: 'connack', returnCode: 1, sessionPresent: false });
  expect(readOne(5, refusal)).toMatchObject({ kind: 'connack', reasonCode: 1 });
  const acceptance = mqttPacket.generate({ cmd: 'connack', returnCode: 0, sessionPresent: false });
  expect(() => readOne(5, acceptance)).toThrow(MalformedPacket);
});

describe('malformed bytes', () => {
  it.each([
    [4, 'a length without an end', 'd0ffffffff01', 0x81],
    [4, 'a packet over the limit', '30ffffff03', 0x95],
    [4, 'a publish of QoS 3', '360700016100016162', 0x81],
    [4, 'a publish shorter than its topic', '300300056162', 0x81],
    [4, 'a publish of QoS 1 without an identifier', '3203000161', 0x81],
    [4, 'a publish whose identifier is 0', '32050001610000', 0x82],
    [4, 'a topic that is not UTF-8', '30030001ff', 0x81],
    [4, 'a topic with U+0000', '3003000100', 0x81],
    [4, 'a short CONNACK', '200100', 0x81],
    [4, 'flags where there are none', '41020001', 0x81],
    [4, 'a byte behind the end', 'd00100', 0x81],
    [4, 'PUBREC, which belongs to QoS 2', '50020001', 0x82],
    [4, 'SUBSCRIBE without a filter', '82020001', 0x82],
    [5, 'a property that is none', '300600016102 7f00', 0x81],
    [5, 'a property of another packet', '30070001610311ffff', 0x82],
    [5, 'a property twice', '3008000161040100 0101', 0x82],
    [5, 'a flag that is neither 0 nor 1', '3006000161020102', 0x82],
    [5, 'a topic alias of 0', '300700016103230000', 0x94],
    [5, 'an empty topic without an alias', '3003000000', 0x82],
    [5, 'properties longer than the packet', '300400016105', 0x81],
    [5, 'a receive maximum of 0', '2006000003210000', 0x82],
    [5, 'a variable byte integer that is longer than it has to be', '30050001618000', 0x81],
    [5, 'AUTH, which no device asks for', 'f000', 0x82],
  ] as const)('level %i: %s', (version, _what, hex, reasonCode) => {
    let error: unknown;
    try {
      readAll(version, Buffer.from(hex.replaceAll(' ', ''), 'hex'));
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(MalformedPacket);
    expect(error).toMatchObject({ reasonCode });
  });

  it('before CONNECT are refused, and so is every other protocol', () => {
    expect(() => readAll(undefined, PINGREQ)).toThrow('expected CONNECT');
    const older = mqttPacket.generate({
      ...{ cmd: 'connect', protocolId: 'MQIsdp', protocolVersion: 3, clientId: 'a', clean: true, keepalive: 1 },
    });
    expect(() => readAll(undefined, older)).toThrow('expected MQTT 3.1.1 or 5');
    const html = Buffer.from('<!doctype html><html><body>sign in</body></html>');
    for (const version of versions) expect(() => readAll(version, html)).toThrow(MalformedPacket);
  });

  it('never make anything but a MalformedPacket', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<MqttVersion | undefined>(undefined, 4, 5),
        fc.uint8Array({ maxLength: 60 }),
        (version, bytes) => {
          try {
            readAll(version, Buffer.from(bytes));
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedPacket);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('give no packet after stop, not even of the same chunk', () => {
    const reader = new PacketReader({ version: 4, maxBytes: 100 });
    let read = 0;
    reader.read(Buffer.concat([PINGREQ, PINGREQ]), () => {
      read += 1;
      reader.stop();
    });
    expect(read).toBe(1);
  });
});

it('a topic and a payload may be given as bytes or as text', () => {
  const message = { topic: 'é', payload: 'ü', qos: 1, packetId: 7 } as const satisfies Publish;
  const bytes = { ...message, topic: Buffer.from('é'), payload: Buffer.from('ü') };
  for (const version of versions) expect(encodePublish(version, bytes)).toEqual(encodePublish(version, message));
});
