/** The properties of MQTT 5 as bytes (section 2.2.2): which there are, of which type, and in which packets. */

import type { UserProperty } from '@rollcall/protocol';
import { ByteReader } from './byte-reader.ts';
import { MalformedPacket, type PacketKind, type PacketProperties } from './packets.ts';

type Type = 'flag' | 'uint16' | 'uint32' | 'variable' | 'text' | 'bytes' | 'pair';

interface Property {
  readonly id: number;
  readonly name: keyof PacketProperties;
  readonly type: Type;
  readonly packets: readonly (PacketKind | 'will')[];
  /** The value 0 is a protocol error. */
  readonly isPositive?: boolean;
}

/** Packets with a reason string and user properties. */
const ANSWERS = ['connack', 'puback', 'suback', 'unsuback', 'disconnect'] as const;

const PROPERTIES: readonly Property[] = [
  { id: 0x01, name: 'payloadFormatIndicator', type: 'flag', packets: ['publish', 'will'] },
  { id: 0x02, name: 'messageExpiryInterval', type: 'uint32', packets: ['publish', 'will'] },
  { id: 0x03, name: 'contentType', type: 'text', packets: ['publish', 'will'] },
  { id: 0x08, name: 'responseTopic', type: 'text', packets: ['publish', 'will'] },
  { id: 0x09, name: 'correlationData', type: 'bytes', packets: ['publish', 'will'] },
  {
    ...{ id: 0x0b, name: 'subscriptionIdentifiers', type: 'variable' },
    ...{ packets: ['publish', 'subscribe'], isPositive: true },
  },
  { id: 0x11, name: 'sessionExpiryInterval', type: 'uint32', packets: ['connect', 'connack', 'disconnect'] },
  { id: 0x12, name: 'assignedClientIdentifier', type: 'text', packets: ['connack'] },
  { id: 0x13, name: 'serverKeepAlive', type: 'uint16', packets: ['connack'] },
  { id: 0x15, name: 'authenticationMethod', type: 'text', packets: ['connect', 'connack'] },
  { id: 0x16, name: 'authenticationData', type: 'bytes', packets: ['connect', 'connack'] },
  { id: 0x17, name: 'requestProblemInformation', type: 'flag', packets: ['connect'] },
  { id: 0x18, name: 'willDelayInterval', type: 'uint32', packets: ['will'] },
  { id: 0x19, name: 'requestResponseInformation', type: 'flag', packets: ['connect'] },
  { id: 0x1a, name: 'responseInformation', type: 'text', packets: ['connack'] },
  { id: 0x1c, name: 'serverReference', type: 'text', packets: ['connack', 'disconnect'] },
  { id: 0x1f, name: 'reasonString', type: 'text', packets: ANSWERS },
  { id: 0x21, name: 'receiveMaximum', type: 'uint16', packets: ['connect', 'connack'], isPositive: true },
  { id: 0x22, name: 'topicAliasMaximum', type: 'uint16', packets: ['connect', 'connack'] },
  { id: 0x23, name: 'topicAlias', type: 'uint16', packets: ['publish'] },
  { id: 0x24, name: 'maximumQos', type: 'flag', packets: ['connack'] },
  { id: 0x25, name: 'retainAvailable', type: 'flag', packets: ['connack'] },
  {
    ...{ id: 0x26, name: 'userProperties', type: 'pair' },
    packets: [...ANSWERS, 'connect', 'publish', 'will', 'subscribe', 'unsubscribe'],
  },
  { id: 0x27, name: 'maximumPacketSize', type: 'uint32', packets: ['connect', 'connack'], isPositive: true },
  { id: 0x28, name: 'wildcardSubscriptionAvailable', type: 'flag', packets: ['connack'] },
  { id: 0x29, name: 'subscriptionIdentifiersAvailable', type: 'flag', packets: ['connack'] },
  { id: 0x2a, name: 'sharedSubscriptionAvailable', type: 'flag', packets: ['connack'] },
];

const BY_ID = new Map(PROPERTIES.map((property) => [property.id, property]));
const BY_NAME = new Map<string, Property>(PROPERTIES.map((property) => [property.name, property]));

const PROTOCOL_ERROR = 0x82;
const TOPIC_ALIAS_INVALID = 0x94;
export const NO_PROPERTIES: Buffer = Buffer.from([0]);

/** With the length in front. */
export function encodeProperties(properties: PacketProperties | undefined): Buffer {
  if (properties === undefined) return NO_PROPERTIES;
  const parts: Buffer[] = [];
  for (const [name, value] of Object.entries(properties)) {
    const property = BY_NAME.get(name);
    if (property !== undefined && value !== undefined) writeProperty(parts, property, value);
  }
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return length === 0 ? NO_PROPERTIES : Buffer.concat([variable(length), ...parts]);
}

function writeProperty(parts: Buffer[], { id, type }: Property, value: unknown): void {
  const head = Buffer.from([id]);
  if (type === 'pair') {
    for (const [name, text] of value as readonly UserProperty[]) parts.push(head, encodeText(name), encodeText(text));
  } else if (type === 'variable') {
    for (const number of value as readonly number[]) parts.push(head, variable(number));
  } else if (type === 'text') {
    parts.push(head, encodeText(value as string));
  } else if (type === 'bytes') {
    parts.push(head, withLength(value as Uint8Array));
  } else {
    parts.push(head, fixed(type, value as number));
  }
}

function fixed(type: 'flag' | 'uint16' | 'uint32', value: number): Buffer {
  const bytes = Buffer.allocUnsafe(type === 'flag' ? 1 : type === 'uint16' ? 2 : 4);
  bytes.writeUIntBE(value, 0, bytes.length);
  return bytes;
}

/** A Variable Byte Integer (section 1.5.5). */
export function variable(value: number): Buffer {
  const octets: number[] = [];
  let left = value;
  do {
    octets.push((left & 0x7f) | (left >= 128 ? 0x80 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return Buffer.from(octets);
}

/** A UTF-8 Encoded String (section 1.5.4). Throws a RangeError for more than 65,535 bytes. */
export function encodeText(value: string): Buffer {
  return withLength(Buffer.from(value, 'utf8'));
}

/** Binary data (section 1.5.6). Throws a RangeError for more than 65,535 bytes. */
export function withLength(bytes: Uint8Array): Buffer {
  const result = Buffer.allocUnsafe(2 + bytes.length);
  result.writeUInt16BE(bytes.length, 0);
  result.set(bytes, 2);
  return result;
}

/** Reads what {@link encodeProperties} wrote for a PUBLISH; `end` is where it ends in `bytes`. Throws a MalformedPacket. */
export function decodePropertyBytes(bytes: Buffer): {
  readonly properties: PacketProperties | undefined;
  readonly end: number;
} {
  const reader = new ByteReader(bytes);
  const properties = decodeProperties(reader, 'publish');
  return { properties, end: bytes.length - reader.left };
}

/** Reads the length and the properties of one packet; undefined for none. Throws a MalformedPacket. */
export function decodeProperties(from: ByteReader, packet: PacketKind | 'will'): PacketProperties | undefined {
  const length = from.variable();
  if (length === 0) return undefined;
  const block = from.part(length);
  const found: Record<string, unknown> = {};
  while (block.left > 0) {
    const id = block.variable();
    const property = BY_ID.get(id);
    if (property === undefined) throw new MalformedPacket(`malformed ${packet}: no property has the number ${id}`);
    readProperty(block, property, packet, found);
  }
  return found as PacketProperties;
}

function readProperty(
  block: ByteReader,
  { name, type, packets, isPositive = false }: Property,
  packet: PacketKind | 'will',
  found: Record<string, unknown>,
): void {
  const wrong = (what: string, reasonCode: number = PROTOCOL_ERROR): MalformedPacket =>
    new MalformedPacket(`malformed ${packet}: ${name} ${what}`, reasonCode);
  if (!packets.includes(packet)) throw wrong('is not allowed here');
  const value = readValue(block, type);
  if (type === 'flag' && (value as number) > 1) throw wrong('is neither 0 nor 1');
  if (isPositive && value === 0) throw wrong('is 0');
  if (name === 'topicAlias' && value === 0) throw wrong('is 0', TOPIC_ALIAS_INVALID);
  if (type === 'pair' || (type === 'variable' && packet === 'publish')) {
    found[name] = [...((found[name] as unknown[] | undefined) ?? []), value];
  } else if (found[name] !== undefined) {
    throw wrong('occurs twice');
  } else {
    found[name] = type === 'variable' ? [value] : value;
  }
}

function readValue(block: ByteReader, type: Type): number | string | Buffer | UserProperty {
  if (type === 'flag') return block.byte();
  if (type === 'uint16') return block.uint16();
  if (type === 'uint32') return block.uint32();
  if (type === 'variable') return block.variable();
  if (type === 'text') return block.text();
  return type === 'bytes' ? Buffer.from(block.bytes()) : [block.text(), block.text()];
}
