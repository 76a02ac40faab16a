/** The fields of valid packets as the decoder passes them on. */

import { describe, expect, it } from 'vitest';
import { decode } from '../../../test/fixtures/broker/decoded-packets.ts';
import { NO_PROPERTIES, properties } from '../../../test/fixtures/broker/mqtt5-corpus/case.ts';
import { connect5, will5 } from '../../../test/fixtures/broker/mqtt5-corpus/connect-cases.ts';
import { property } from '../../../test/fixtures/broker/mqtt5-corpus/property-cases.ts';
import { connect, packet, text, u8, u16 } from '../../../test/fixtures/broker/packet-parts.ts';
import { DEFAULT_LIMITS } from '../../broker-limits.ts';
import { PacketDecoder } from './packet-decoder.ts';
import { PROPERTY_LIMITS } from './packet-limits.ts';

const decodeFirst = (...packets: readonly Buffer[]) =>
  decode(new PacketDecoder({ ...DEFAULT_LIMITS, ...PROPERTY_LIMITS }), packets);
const decode4 = (...packets: readonly Buffer[]) => decodeFirst(connect('client-1'), ...packets);
const decode5 = (...packets: readonly Buffer[]) => decodeFirst(connect5(), ...packets);

const topic = text('a/b');
const x = Buffer.from('x');

describe('the packet decoder', () => {
  it('reads CONNECT of MQTT 3.1.1', () => {
    const bytes = connect('client-1', {
      flags: 0xee,
      keepalive: 1_000,
      payload: [topic, text('gone'), text('user'), text('secret')],
    });
    expect(decodeFirst(bytes).packets).toEqual([
      {
        name: 'connect',
        bytes: bytes.length,
        fields: {
          version: 4,
          clientId: 'client-1',
          cleanStart: true,
          keepAlive: 1_000,
          will: {
            topic: 'a/b',
            payload: Buffer.from('gone'),
            qos: 1,
            retain: true,
            properties: undefined,
            messageExpiryInterval: undefined,
            delayInterval: 0,
          },
          sessionExpiryInterval: 0,
          receiveMaximum: 65_535,
          maximumPacketSize: Infinity,
          topicAliasMaximum: 0,
          wantsProblemInformation: true,
          wantsResponseInformation: false,
          authenticationMethod: undefined,
        },
      },
    ]);
  });

  it('reads a session of MQTT 3.1.1 that is not clean as one that never expires', () => {
    expect(decodeFirst(connect('client-1', { flags: 0 })).packets[0]?.fields).toMatchObject({
      cleanStart: false,
      sessionExpiryInterval: 0xffff_ffff,
    });
  });

  it('reads the properties of CONNECT and of its will', () => {
    const own = properties(
      u8(0x11, 0, 0, 0x0e, 0x10),
      u8(0x21, 0, 20),
      u8(0x27, 0, 1, 0, 0),
      u8(0x22, 0, 8),
      u8(0x19, 1),
      u8(0x17, 0),
      property(0x15),
      property(0x16),
      property(0x26),
    );
    const will = properties(
      u8(0x18, 0, 0, 0, 30),
      u8(0x01, 1),
      u8(0x02, 0, 0, 1, 0),
      property(0x03),
      property(0x08),
      property(0x09),
      property(0x26),
      property(0x26),
    );
    const { packets } = decodeFirst(
      connect5({ clientId: '', flags: 0x34, properties: own, payload: will5('a/b', will) }),
    );
    expect(packets[0]?.fields).toEqual({
      version: 5,
      clientId: '',
      cleanStart: false,
      keepAlive: 60,
      will: {
        topic: 'a/b',
        payload: Buffer.from('gone'),
        qos: 2,
        retain: true,
        properties: {
          payloadFormatIndicator: 1,
          contentType: 'text/plain',
          responseTopic: 'replies/1',
          correlationData: Buffer.from([0, 255, 0xc0]),
          userProperties: [
            ['name', 'value'],
            ['name', 'value'],
          ],
        },
        messageExpiryInterval: 256,
        delayInterval: 30,
      },
      sessionExpiryInterval: 3_600,
      receiveMaximum: 20,
      maximumPacketSize: 65_536,
      topicAliasMaximum: 8,
      wantsProblemInformation: false,
      wantsResponseInformation: true,
      authenticationMethod: 'SCRAM-SHA-1',
    });
  });

  it('points at topic, identifier and payload of PUBLISH in both versions', () => {
    const fields = {
      qos: 1,
      dup: true,
      retain: true,
      topic: 'a/b',
      packetId: 0x1234,
      payload: 'hello',
      properties: undefined,
    };
    const hello = Buffer.from('hello');
    const [publish4, publish5] = [
      packet(0x3b, topic, u16(0x1234), hello),
      packet(0x3b, topic, u16(0x1234), NO_PROPERTIES, hello),
    ];
    expect(decode4(publish4).packets[1]).toEqual({
      name: 'publish',
      bytes: publish4.length,
      fields: { ...fields, length: publish4.length },
    });
    expect(decode5(publish5).packets[1]).toEqual({
      name: 'publish',
      bytes: publish5.length,
      fields: { ...fields, length: publish5.length },
    });
  });

  it('reads the properties of PUBLISH, user properties in order', () => {
    const pair = (name: string, value: string) => property(0x26, Buffer.concat([text(name), text(value)]));
    const own = properties(
      pair('b', '1'),
      property(0x01),
      property(0x02),
      pair('a', '2'),
      u8(0x23, 0, 3),
      property(0x09),
      pair('b', ''),
    );
    expect(decode5(packet(0x30, text(''), own, x)).packets[1]?.fields).toMatchObject({
      topic: '',
      payload: 'x',
      properties: {
        message: {
          payloadFormatIndicator: 1,
          correlationData: Buffer.from([0, 255, 0xc0]),
          userProperties: [
            ['b', '1'],
            ['a', '2'],
            ['b', ''],
          ],
        },
        messageExpiryInterval: 60,
        topicAlias: 3,
      },
    });
  });

  it('gives receivers nothing of a PUBLISH that has only an expiry or an alias', () => {
    const { packets } = decode5(packet(0x30, topic, properties(property(0x02), property(0x23)), x));
    expect(packets[1]?.fields).toMatchObject({
      properties: { message: undefined, messageExpiryInterval: 60, topicAlias: 1 },
    });
  });

  it('keeps correlation data and the will apart from the received bytes', () => {
    const publish = packet(0x30, topic, properties(property(0x09)), x);
    const will = connect5({ flags: 0x06, payload: will5('w') });
    const { packets } = decodeFirst(will, publish);
    will.fill(0);
    publish.fill(0);
    expect(packets[0]?.fields).toMatchObject({ will: { payload: Buffer.from('gone') } });
    expect(packets[1]?.fields).toMatchObject({
      properties: { message: { correlationData: Buffer.from([0, 255, 0xc0]) } },
    });
  });

  it('reads acknowledgements with and without a reason code', () => {
    const all = [
      packet(0x40, u16(7)),
      packet(0x50, u16(7), u8(0x87)),
      packet(0x62, u16(7), u8(0x92, 0)),
      packet(0x70, u16(7), u8(0), properties(property(0x1f))),
    ];
    expect(
      decode5(...all)
        .packets.slice(1)
        .map(({ fields }) => fields),
    ).toEqual([
      { type: 4, packetId: 7, reasonCode: 0 },
      { type: 5, packetId: 7, reasonCode: 0x87 },
      { type: 6, packetId: 7, reasonCode: 0x92 },
      { type: 7, packetId: 7, reasonCode: 0 },
    ]);
    expect(decode4(packet(0x62, u16(9))).packets[1]?.fields).toEqual({ type: 6, packetId: 9, reasonCode: 0 });
  });

  it('reads the options and the identifier of subscriptions', () => {
    const subscribe = packet(
      0x82,
      u16(5),
      properties(u8(0x0b, 0x80, 0x01)),
      text('a/+'),
      u8(0x2d),
      text('$share/g/#'),
      u8(0x12),
    );
    expect(decode5(subscribe).packets[1]?.fields).toEqual({
      packetId: 5,
      subscriptions: [
        { filter: 'a/+', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 },
        { filter: '$share/g/#', qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 1 },
      ],
      subscriptionIdentifier: 128,
    });
    expect(decode4(packet(0x82, u16(5), text('#'), u8(2))).packets[1]?.fields).toEqual({
      packetId: 5,
      subscriptions: [{ filter: '#', qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
      subscriptionIdentifier: undefined,
    });
  });

  it('reads the filters of UNSUBSCRIBE', () => {
    const fields = { packetId: 5, filters: ['a', 'b/#'] };
    expect(decode5(packet(0xa2, u16(5), NO_PROPERTIES, text('a'), text('b/#'))).packets[1]?.fields).toEqual(fields);
    expect(decode4(packet(0xa2, u16(5), text('a'), text('b/#'))).packets[1]?.fields).toEqual(fields);
  });

  it('reads DISCONNECT of every length', () => {
    const fieldsOf = (...bytes: readonly number[]) => decode5(u8(0xe0, bytes.length, ...bytes)).packets[1]?.fields;
    expect(fieldsOf()).toEqual({ reasonCode: 0, sessionExpiryInterval: undefined });
    expect(fieldsOf(4)).toEqual({ reasonCode: 4, sessionExpiryInterval: undefined });
    expect(fieldsOf(4, 0)).toEqual({ reasonCode: 4, sessionExpiryInterval: undefined });
    expect(fieldsOf(0, 5, 0x11, 0, 0, 0, 0)).toEqual({ reasonCode: 0, sessionExpiryInterval: 0 });
    expect(decode4(u8(0xe0, 0)).packets[1]?.fields).toEqual({ reasonCode: 0, sessionExpiryInterval: undefined });
  });

  it('accepts a new expiry in DISCONNECT when CONNECT had one', () => {
    const first = connect5({ properties: properties(property(0x11)) });
    const { packets } = decodeFirst(first, packet(0xe0, u8(0), properties(u8(0x11, 0, 0, 1, 0))));
    expect(packets[1]?.fields).toEqual({ reasonCode: 0, sessionExpiryInterval: 256 });
  });
});
