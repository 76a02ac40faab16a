/** The decoder against mqtt-packet, an independent implementation: arbitrary packets of both versions that mqtt-packet writes. */

import type { MessageProperties } from '@rollcall/protocol';
import fc from 'fast-check';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import {
  asMqttPacket,
  binary,
  defined,
  grouped,
  messageProperties,
  qos,
  text,
  topicFilter,
  topicName,
  uint16,
  uint32,
} from '../../../test/fixtures/broker/arbitrary-packets.ts';
import { decode } from '../../../test/fixtures/broker/decoded-packets.ts';
import { DEFAULT_LIMITS } from '../../broker-limits.ts';
import type { ProtocolVersion } from '../packets.ts';
import { PacketDecoder } from './packet-decoder.ts';
import { PROPERTY_LIMITS } from './packet-limits.ts';

const limits = { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS };
const RUNS = { seed: 20_261_129, numRuns: 600 };
const version = fc.constantFrom<ProtocolVersion>(4, 5);

/** What the decoder makes of a packet that mqtt-packet has written, after CONNECT. */
function decoded(packet: Packet, protocolVersion: ProtocolVersion): unknown {
  const connect: Packet = {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion,
    clientId: 'client-1',
    clean: true,
    keepalive: 60,
    ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}),
  };
  const before = packet.cmd === 'connect' ? [] : [mqttPacket.generate(connect)];
  const bytes = mqttPacket.generate(packet, { protocolVersion });
  const { packets, violation } = decode(new PacketDecoder(limits), [...before, bytes]);
  expect(violation).toBeUndefined();
  expect(packets[before.length]?.bytes).toBe(bytes.length);
  return packets[before.length]?.fields;
}

/** mqtt-packet writes user properties by name: their order across names is its own. */
const byName = (properties: MessageProperties | undefined) => {
  if (properties?.userProperties === undefined) return properties;
  return { ...properties, userProperties: grouped(properties.userProperties) };
};

describe('the packet decoder', () => {
  it('reads CONNECT as mqtt-packet writes it', () => {
    const will = fc.record({
      topic: topicName,
      payload: binary(),
      qos,
      retain: fc.boolean(),
      properties: messageProperties,
      expiry: fc.option(uint32(), { nil: undefined }),
      delay: uint32(),
    });
    const own = fc.record(
      {
        sessionExpiryInterval: uint32(),
        receiveMaximum: uint16(1),
        maximumPacketSize: uint32(1),
        topicAliasMaximum: uint16(),
        requestResponseInformation: fc.boolean(),
        requestProblemInformation: fc.boolean(),
      },
      { requiredKeys: [] },
    );
    const connect = fc.record({
      version,
      clientId: text().filter((id) => id !== ''),
      clean: fc.boolean(),
      keepalive: uint16(),
      will: fc.option(will, { nil: undefined }),
      own,
      user: fc.option(text(), { nil: undefined }),
    });
    fc.assert(
      fc.property(connect, (values) => {
        const is5 = values.version === 5;
        const { own, will } = values;
        const packet: Packet = {
          cmd: 'connect',
          protocolId: 'MQTT',
          protocolVersion: values.version,
          clientId: values.clientId,
          clean: values.clean,
          keepalive: values.keepalive,
          ...(values.user === undefined ? {} : { username: values.user, password: Buffer.from('secret') }),
          ...(is5 ? { properties: { ...own, userProperties: { a: 'b' } } } : {}),
          ...(will === undefined
            ? {}
            : {
                will: {
                  topic: will.topic,
                  payload: will.payload,
                  qos: will.qos,
                  retain: will.retain,
                  ...(is5
                    ? {
                        properties: {
                          ...asMqttPacket(will.properties),
                          ...defined({ messageExpiryInterval: will.expiry }),
                          willDelayInterval: will.delay,
                        },
                      }
                    : {}),
                },
              }),
        };
        const found = decoded(packet, values.version) as { will?: { properties?: MessageProperties } };
        const hasProperties = is5 && will !== undefined && Object.keys(will.properties).length > 0;
        expect({ ...found, will: found.will && { ...found.will, properties: byName(found.will.properties) } }).toEqual({
          version: values.version,
          clientId: values.clientId,
          cleanStart: values.clean,
          keepAlive: values.keepalive,
          will: will && {
            topic: will.topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: hasProperties ? byName(will.properties) : undefined,
            messageExpiryInterval: is5 ? will.expiry : undefined,
            delayInterval: is5 ? will.delay : 0,
          },
          sessionExpiryInterval: is5 ? (own.sessionExpiryInterval ?? 0) : values.clean ? 0 : 0xffff_ffff,
          receiveMaximum: (is5 ? own.receiveMaximum : undefined) ?? 65_535,
          maximumPacketSize: (is5 ? own.maximumPacketSize : undefined) ?? Infinity,
          topicAliasMaximum: (is5 ? own.topicAliasMaximum : undefined) ?? 0,
          wantsProblemInformation: (is5 ? own.requestProblemInformation : undefined) ?? true,
          wantsResponseInformation: (is5 ? own.requestResponseInformation : undefined) ?? false,
          authenticationMethod: undefined,
        });
      }),
      RUNS,
    );
  });

  it('reads PUBLISH as mqtt-packet writes it', () => {
    const publish = fc.record({
      version,
      topic: topicName,
      payload: binary(300),
      qos,
      retain: fc.boolean(),
      dup: fc.boolean(),
      messageId: uint16(1),
      message: messageProperties,
      expiry: fc.option(uint32(), { nil: undefined }),
      topicAlias: fc.option(fc.integer({ min: 1, max: 16 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(publish, ({ version, topic, payload, qos, retain, dup, messageId, message, expiry, topicAlias }) => {
        const own = defined({ ...asMqttPacket(message), messageExpiryInterval: expiry, topicAlias });
        const isDup = dup && qos > 0;
        const packet: Packet = {
          cmd: 'publish',
          topic,
          payload,
          qos,
          retain,
          dup: isDup,
          ...(qos > 0 ? { messageId } : {}),
          ...(version === 5 ? { properties: own } : {}),
        };
        const found = decoded(packet, version) as { properties?: { message?: MessageProperties } };
        const properties = found.properties && { ...found.properties, message: byName(found.properties.message) };
        const hasAny = version === 5 && Object.keys(own).length > 0;
        expect({ ...found, properties }).toMatchObject({
          topic,
          payload: payload.toString('latin1'),
          qos,
          retain,
          dup: isDup,
          packetId: qos > 0 ? messageId : 0,
          properties: hasAny
            ? {
                message: Object.keys(message).length > 0 ? byName(message) : undefined,
                messageExpiryInterval: expiry,
                topicAlias,
              }
            : undefined,
        });
      }),
      RUNS,
    );
  });

  it('reads SUBSCRIBE and UNSUBSCRIBE as mqtt-packet writes them', () => {
    const subscription = fc.record({
      topic: topicFilter,
      qos,
      nl: fc.boolean(),
      rap: fc.boolean(),
      rh: fc.constantFrom(0, 1, 2),
    });
    const subscribe = fc.record({
      version,
      messageId: uint16(1),
      subscriptions: fc.array(subscription, { minLength: 1, maxLength: 8 }),
      identifier: fc.option(fc.integer({ min: 1, max: 268_435_455 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(subscribe, ({ version, messageId, subscriptions, identifier }) => {
        const is5 = version === 5;
        const allowed = subscriptions.map((one) => ({ ...one, nl: one.nl && !one.topic.startsWith('$share/') }));
        const properties =
          is5 && identifier !== undefined ? { properties: { subscriptionIdentifier: identifier } } : {};
        const packet = {
          cmd: 'subscribe',
          messageId,
          subscriptions: is5 ? allowed : allowed.map(({ topic, qos }) => ({ topic, qos })),
          ...properties,
        } as Packet;
        expect(decoded(packet, version)).toEqual({
          packetId: messageId,
          subscriptions: allowed.map(({ topic, qos, nl, rap, rh }) => ({
            filter: topic,
            qos,
            noLocal: is5 && nl,
            retainAsPublished: is5 && rap,
            retainHandling: is5 ? rh : 0,
          })),
          subscriptionIdentifier: is5 ? identifier : undefined,
        });
        const filters = allowed.map(({ topic }) => topic);
        const unsubscribe: Packet = {
          cmd: 'unsubscribe',
          messageId,
          unsubscriptions: filters,
          ...(is5 ? { properties: { userProperties: { a: 'b' } } } : {}),
        };
        expect(decoded(unsubscribe, version)).toEqual({ packetId: messageId, filters });
      }),
      RUNS,
    );
  });

  it('reads acknowledgements and DISCONNECT as mqtt-packet writes them', () => {
    const acknowledgement = fc.record({
      version,
      cmd: fc.constantFrom('puback', 'pubrec', 'pubrel', 'pubcomp'),
      messageId: uint16(1),
      isRefused: fc.boolean(),
      reasonString: fc.option(text(), { nil: undefined }),
      expiry: fc.option(uint32(), { nil: undefined }),
    });
    fc.assert(
      fc.property(acknowledgement, ({ version, cmd, messageId, isRefused, reasonString, expiry }) => {
        const type = { puback: 4, pubrec: 5, pubrel: 6, pubcomp: 7 }[cmd];
        const code = isRefused ? (type < 6 ? 0x97 : 0x92) : 0;
        const reason =
          version === 5
            ? { reasonCode: code, ...(reasonString === undefined ? {} : { properties: { reasonString } }) }
            : {};
        expect(decoded({ cmd, messageId, ...reason } as Packet, version)).toEqual({
          type,
          packetId: messageId,
          reasonCode: version === 5 ? code : 0,
        });
        const last =
          version === 5
            ? { reasonCode: 0x04, properties: defined({ reasonString, sessionExpiryInterval: expiry }) }
            : {};
        expect(decoded({ cmd: 'disconnect', ...last } as Packet, version)).toEqual({
          reasonCode: version === 5 ? 0x04 : 0,
          sessionExpiryInterval: version === 5 ? expiry : undefined,
        });
      }),
      RUNS,
    );
  });
});
