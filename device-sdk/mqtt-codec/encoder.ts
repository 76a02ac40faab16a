/** Packets as bytes, for both versions and both sides. Pure. Throws a RangeError for a field that is too long. */

import type { Connack, Connect, MqttVersion, PacketProperties, Publish, Subscription, Will } from './packets.ts';
import { encodeProperties, encodeText, NO_PROPERTIES, variable, withLength } from './properties.ts';

export const PINGREQ: Buffer = Buffer.from([0xc0, 0x00]);
export const PINGRESP: Buffer = Buffer.from([0xd0, 0x00]);

const PROTOCOL_NAME = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54]);
const CLEAN_START = 0x02;
const NOTHING = Buffer.alloc(0);

export function encodeConnect({ version, clientId, cleanStart, keepAlive, properties, will }: Connect): Buffer {
  const flags = (cleanStart ? CLEAN_START : 0) | (will === undefined ? 0 : willFlags(will));
  const settings = Buffer.from([version, flags, keepAlive >> 8, keepAlive & 0xff]);
  const body = [PROTOCOL_NAME, settings, ofVersion5(version, properties), encodeText(clientId)];
  if (will !== undefined) {
    body.push(ofVersion5(version, will.properties), encodeText(will.topic), withLength(Buffer.from(will.payload)));
  }
  return packet(0x10, body);
}

/** Will Flag, Will QoS and Will Retain (section 3.1.2). */
function willFlags({ qos, retain = false }: Will): number {
  return 0x04 | (qos << 3) | (retain ? 0x20 : 0);
}

export function encodeConnack(version: MqttVersion, { sessionPresent, reasonCode, properties }: Connack): Buffer {
  return packet(0x20, [Buffer.from([sessionPresent ? 1 : 0, reasonCode]), ofVersion5(version, properties)]);
}

/** One allocation for a message without properties. */
export function encodePublish(version: MqttVersion, message: Publish): Buffer {
  const { topic, payload, qos, dup = false, retain = false, packetId, properties } = message;
  const topicLength = typeof topic === 'string' ? Buffer.byteLength(topic) : topic.length;
  const payloadLength = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length;
  const extra = version === 5 ? encodeProperties(properties) : NOTHING;
  const length = 2 + topicLength + (qos === 0 ? 0 : 2) + extra.length + payloadLength;
  const bytes = Buffer.allocUnsafe(1 + lengthOctets(length) + length);
  bytes[0] = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  let at = writeLength(bytes, length);
  at = bytes.writeUInt16BE(topicLength, at);
  if (typeof topic === 'string') bytes.write(topic, at, 'utf8');
  else bytes.set(topic, at);
  at += topicLength;
  if (qos === 1) at = bytes.writeUInt16BE(packetId, at);
  if (extra === NO_PROPERTIES) bytes[at] = 0;
  else extra.copy(bytes, at);
  at += extra.length;
  if (typeof payload === 'string') bytes.write(payload, at, 'utf8');
  else bytes.set(payload, at);
  return bytes;
}

export function encodePuback(
  version: MqttVersion,
  packetId: number,
  reasonCode = 0,
  properties?: PacketProperties,
): Buffer {
  if (version === 4 || (reasonCode === 0 && properties === undefined)) {
    return Buffer.from([0x40, 2, packetId >> 8, packetId & 0xff]);
  }
  return packet(0x40, [uint16(packetId), reason(reasonCode, properties)]);
}

export function encodeSubscribe(
  version: MqttVersion,
  packetId: number,
  subscriptions: readonly Subscription[],
  properties?: PacketProperties,
): Buffer {
  const filters = subscriptions.flatMap((subscription) => [
    encodeText(subscription.filter),
    Buffer.from([version === 5 ? options(subscription) : subscription.qos]),
  ]);
  return packet(0x82, [uint16(packetId), ofVersion5(version, properties), ...filters]);
}

function options({ qos, noLocal = false, retainAsPublished = false, retainHandling = 0 }: Subscription): number {
  return qos | (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0) | (retainHandling << 4);
}

export function encodeSuback(
  version: MqttVersion,
  packetId: number,
  reasonCodes: readonly number[],
  properties?: PacketProperties,
): Buffer {
  const codes = version === 5 ? reasonCodes : reasonCodes.map((code) => (code >= 0x80 ? 0x80 : code));
  return packet(0x90, [uint16(packetId), ofVersion5(version, properties), Buffer.from(codes)]);
}

export function encodeUnsubscribe(
  version: MqttVersion,
  packetId: number,
  filters: readonly string[],
  properties?: PacketProperties,
): Buffer {
  return packet(0xa2, [uint16(packetId), ofVersion5(version, properties), ...filters.map(encodeText)]);
}

export function encodeUnsuback(
  version: MqttVersion,
  packetId: number,
  reasonCodes: readonly number[],
  properties?: PacketProperties,
): Buffer {
  const codes = version === 5 ? Buffer.from(reasonCodes) : NOTHING;
  return packet(0xb0, [uint16(packetId), ofVersion5(version, properties), codes]);
}

/** With MQTT 3.1.1 only a client sends it, and without a reason. */
export function encodeDisconnect(version: MqttVersion, reasonCode = 0, properties?: PacketProperties): Buffer {
  if (version === 4 || (reasonCode === 0 && properties === undefined)) return Buffer.from([0xe0, 0]);
  return packet(0xe0, [reason(reasonCode, properties)]);
}

/** Without properties their length is left out as well. */
function reason(reasonCode: number, properties: PacketProperties | undefined): Buffer {
  const code = Buffer.from([reasonCode]);
  return properties === undefined ? code : Buffer.concat([code, encodeProperties(properties)]);
}

function ofVersion5(version: MqttVersion, properties: PacketProperties | undefined): Buffer {
  return version === 5 ? encodeProperties(properties) : NOTHING;
}

function packet(first: number, parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([first]), variable(length), ...parts]);
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function lengthOctets(length: number): number {
  if (length < 128) return 1;
  if (length < 16_384) return 2;
  return length < 2_097_152 ? 3 : 4;
}

/** The remaining length, from the second byte on; returns where it ends. */
function writeLength(bytes: Buffer, length: number): number {
  let left = length;
  let at = 1;
  do {
    bytes[at] = (left & 0x7f) | (left >= 128 ? 0x80 : 0);
    left >>>= 7;
    at += 1;
  } while (left > 0);
  return at;
}
