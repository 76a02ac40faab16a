/** The encoder against mqtt-packet, an independent implementation, which reads arbitrary packets of both versions. */

import { type MessageProperties, ReasonCode, type UserProperty } from '@rollcall/protocol';
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
  topicName,
  uint16,
  uint32,
  userProperty,
} from '../../../test/fixtures/broker/arbitrary-packets.ts';
import { decode } from '../../../test/fixtures/broker/decoded-packets.ts';
import { DEFAULT_LIMITS } from '../../broker-limits.ts';
import type { ProtocolVersion } from '../packets.ts';
import { PacketDecoder } from './packet-decoder.ts';
import {
  encodeAcknowledgement,
  encodeConnack,
  encodeDisconnect,
  encodePublish,
  encodeSuback,
  encodeUnsuback,
  PINGRESP,
} from './packet-encoder.ts';
import { PROPERTY_LIMITS } from './packet-limits.ts';

const limits = { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS };
const RUNS = { seed: 20_261_129, numRuns: 600 };
const version = fc.constantFrom<ProtocolVersion>(4, 5);

/** What mqtt-packet makes of a packet that the encoder has written. */
function parsed(bytes: Buffer, protocolVersion: ProtocolVersion): Record<string, unknown> {
  const parser = mqttPacket.parser({ protocolVersion });
  const packets: Packet[] = [];
  parser.on('packet', (packet) => packets.push(packet));
  parser.on('error', (error) => {
    throw error;
  });
  expect(parser.parse(bytes)).toBe(0);
  expect(packets.length).toBe(1);
  return packets[0] as unknown as Record<string, unknown>;
}

describe('the packet encoder', () => {
  const publish = fc.record({
    topic: topicName,
    payload: binary(300),
    qos,
    retain: fc.boolean(),
    dup: fc.boolean(),
    packetId: uint16(1),
    message: fc.option(messageProperties, { nil: undefined }),
    messageExpiryInterval: fc.option(uint32(), { nil: undefined }),
    topicAlias: fc.option(uint16(1), { nil: undefined }),
    subscriptionIdentifiers: fc.option(
      fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 4 }),
      { nil: undefined },
    ),
  });

  it('writes PUBLISH that mqtt-packet reads', () => {
    fc.assert(
      fc.property(version, publish, (protocolVersion, { message, ...values }) => {
        const bytes = encodePublish(protocolVersion, { ...values, properties: message });
        const {
          topic,
          payload,
          qos,
          retain,
          dup,
          packetId,
          messageExpiryInterval,
          topicAlias,
          subscriptionIdentifiers,
        } = values;
        const ids = subscriptionIdentifiers?.length === 1 ? subscriptionIdentifiers[0] : subscriptionIdentifiers;
        const own = defined({
          ...asMqttPacket(message ?? {}),
          messageExpiryInterval,
          topicAlias,
          subscriptionIdentifier: ids,
        });
        const found = parsed(bytes, protocolVersion);
        expect(found).toMatchObject({
          cmd: 'publish',
          topic,
          payload,
          qos,
          retain,
          dup,
          ...(qos > 0 ? { messageId: packetId } : {}),
        });
        const hasAny = protocolVersion === 5 && Object.keys(own).length > 0;
        expect(found.properties).toEqual(hasAny ? own : undefined);
      }),
      RUNS,
    );
  });

  it('writes PUBLISH that the decoder reads, user properties in order', () => {
    fc.assert(
      fc.property(publish, ({ message, subscriptionIdentifiers: _, topicAlias: __, ...values }) => {
        const dup = values.dup && values.qos > 0;
        const bytes = encodePublish(5, { ...values, dup, properties: message });
        const connect = mqttPacket.generate({
          cmd: 'connect',
          protocolId: 'MQTT',
          protocolVersion: 5,
          clientId: 'c',
          clean: true,
          keepalive: 0,
        });
        const { packets, violation } = decode(new PacketDecoder(limits), [connect, bytes]);
        expect(violation).toBeUndefined();
        const found = packets[1]?.fields as { properties?: { message?: MessageProperties } };
        const hasAny = message !== undefined && Object.keys(message).length > 0;
        expect(found.properties?.message).toEqual(hasAny ? message : undefined);
      }),
      RUNS,
    );
  });

  it('writes CONNACK that mqtt-packet reads', () => {
    const own = fc.record(
      {
        sessionExpiryInterval: uint32(),
        receiveMaximum: uint16(1),
        maximumPacketSize: uint32(1),
        assignedClientIdentifier: text(),
        topicAliasMaximum: uint16(),
        reasonString: text(200),
        userProperties: fc.array(userProperty, { minLength: 1, maxLength: 4 }),
        serverKeepAlive: uint16(),
        serverReference: text(),
      },
      { requiredKeys: [] },
    );
    const reasonCode = fc.constantFrom(
      ReasonCode.success,
      ReasonCode.notAuthorized,
      ReasonCode.serverBusy,
      ReasonCode.clientIdentifierNotValid,
    );
    fc.assert(
      fc.property(version, fc.boolean(), reasonCode, own, (protocolVersion, sessionPresent, reasonCode, properties) => {
        const found = parsed(
          encodeConnack(protocolVersion, { sessionPresent, reasonCode, properties }),
          protocolVersion,
        );
        expect(found).toMatchObject({ cmd: 'connack', sessionPresent: sessionPresent && reasonCode === 0 });
        if (protocolVersion === 4) {
          expect(found.returnCode).toBe({ 0: 0, 135: 5, 137: 3, 133: 2 }[reasonCode as number]);
          return;
        }
        expect(found.reasonCode).toBe(reasonCode);
        const { userProperties, ...rest } = properties;
        const expected = {
          ...rest,
          ...(userProperties === undefined ? {} : { userProperties: grouped(userProperties as UserProperty[]) }),
        };
        expect(found.properties).toEqual(Object.keys(expected).length > 0 ? expected : undefined);
      }),
      RUNS,
    );
  });

  it('writes acknowledgements that mqtt-packet reads', () => {
    const type = fc.constantFrom<4 | 5 | 6 | 7>(4, 5, 6, 7);
    const code = fc.constantFrom(
      ReasonCode.success,
      ReasonCode.noMatchingSubscribers,
      ReasonCode.packetIdentifierNotFound,
    );
    fc.assert(
      fc.property(
        version,
        type,
        uint16(1),
        code,
        fc.option(text(200), { nil: undefined }),
        (protocolVersion, type, packetId, code, reasonString) => {
          // mqtt-packet knows which codes each type may have.
          const reasonCode =
            type < 6
              ? code === ReasonCode.packetIdentifierNotFound
                ? ReasonCode.notAuthorized
                : code
              : code === ReasonCode.noMatchingSubscribers
                ? ReasonCode.success
                : code;
          const found = parsed(
            encodeAcknowledgement(protocolVersion, type, packetId, reasonCode, reasonString),
            protocolVersion,
          );
          const cmd = { 4: 'puback', 5: 'pubrec', 6: 'pubrel', 7: 'pubcomp' }[type];
          expect(found).toMatchObject({ cmd, messageId: packetId, qos: type === 6 ? 1 : 0 });
          if (protocolVersion === 4) return;
          expect(found.reasonCode).toBe(reasonCode);
          expect(found.properties).toEqual(reasonString === undefined ? undefined : { reasonString });
        },
      ),
      RUNS,
    );
  });

  it('writes SUBACK and UNSUBACK that mqtt-packet reads', () => {
    const codes = fc.array(fc.constantFrom(0, 1, 2, 0x80, 0x87, 0x8f, 0x97), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(version, uint16(1), codes, (protocolVersion, packetId, codes) => {
        const suback = parsed(encodeSuback(protocolVersion, packetId, codes), protocolVersion);
        const granted = protocolVersion === 5 ? codes : codes.map((code) => Math.min(code, 0x80));
        expect(suback).toMatchObject({ cmd: 'suback', messageId: packetId, granted });
        const removed = codes.map((code) => (code > 2 ? 0x87 : code === 1 ? 0x11 : 0));
        const unsuback = parsed(encodeUnsuback(protocolVersion, packetId, removed), protocolVersion);
        expect(unsuback).toMatchObject({
          cmd: 'unsuback',
          messageId: packetId,
          ...(protocolVersion === 5 ? { granted: removed } : {}),
        });
      }),
      RUNS,
    );
  });

  it('writes DISCONNECT and PINGRESP that mqtt-packet reads', () => {
    // Not in the table of DISCONNECT (MQTT 5, section 3.14.2.1).
    const ofOtherPackets: readonly number[] = [0x84, 0x85, 0x86, 0x88, 0x8a, 0x8c, 0x91, 0x92];
    const code = fc.constantFrom(
      ...Object.values(ReasonCode).filter((value) => value >= 0x80 && !ofOtherPackets.includes(value)),
    );
    fc.assert(
      fc.property(
        code,
        fc.record({ reasonString: text(300), serverReference: text() }, { requiredKeys: [] }),
        (reasonCode, reason) => {
          const found = parsed(encodeDisconnect(reasonCode, reason), 5);
          expect(found).toMatchObject({ cmd: 'disconnect', reasonCode });
          expect(found.properties).toEqual(Object.keys(reason).length > 0 ? reason : undefined);
        },
      ),
      RUNS,
    );
    expect(parsed(PINGRESP, 4)).toMatchObject({ cmd: 'pingresp' });
  });
});
