/** One whole packet from bytes, for both versions and both sides. Throws a MalformedPacket with the reason code of MQTT 5. */

import { ByteReader } from './byte-reader.ts';
import {
  MalformedPacket,
  type MqttVersion,
  type PacketKind,
  type PacketProperties,
  type ReceivedPacket,
  type Subscription,
} from './packets.ts';
import { decodeProperties } from './properties.ts';

/** By packet type. */
const KINDS: readonly (PacketKind | undefined)[] = [
  ...[undefined, 'connect' as const, 'connack' as const, 'publish' as const, 'puback' as const],
  ...[undefined, undefined, undefined, 'subscribe' as const, 'suback' as const, 'unsubscribe' as const],
  ...['unsuback' as const, 'pingreq' as const, 'pingresp' as const, 'disconnect' as const],
];

const PROTOCOL_ERROR = 0x82;
const UNSUPPORTED_PROTOCOL = 0x84;
/** Connect flags: Will Flag; the bits that describe a will; the lowest, reserved one. */
const WILL = 0x04;
const WILL_BITS = 0x38;
const RESERVED = 0x01;

/** `version`: undefined before CONNECT. The body lies from `at` to `end`. */
export function decodePacket(
  version: MqttVersion | undefined,
  first: number,
  bytes: Buffer,
  at: number,
  end: number,
): ReceivedPacket {
  const kind = KINDS[first >> 4];
  if (kind === 'publish') return decodePublish(version, first, new ByteReader(bytes, at, end));
  if (kind === 'puback' && end - at === 2 && first === 0x40) {
    return { kind, packetId: packetIdOf(bytes.readUInt16BE(at)), reasonCode: 0 };
  }
  const flags = kind === 'subscribe' || kind === 'unsubscribe' ? 2 : 0;
  if (kind === undefined) throw new MalformedPacket(`malformed packet of type ${first >> 4}`, PROTOCOL_ERROR);
  if ((first & 0x0f) !== flags) throw new MalformedPacket('malformed flags'); // [MQTT-2.2.2-2]
  const body = new ByteReader(bytes, at, end);
  if (version === undefined && kind !== 'connect') {
    throw new MalformedPacket(`expected CONNECT, found ${kind}`, PROTOCOL_ERROR); // [MQTT-3.1.0-1]
  }
  const packet = decodeBody(kind, version ?? 4, body);
  if (body.left > 0) throw new MalformedPacket(`malformed ${kind}: bytes behind its end`);
  return packet;
}

function decodeBody(kind: Exclude<PacketKind, 'publish'>, version: MqttVersion, body: ByteReader): ReceivedPacket {
  const properties = (): PacketProperties | undefined => (version === 5 ? decodeProperties(body, kind) : undefined);
  switch (kind) {
    case 'connect':
      return decodeConnect(body);
    case 'connack': {
      const flags = body.byte();
      if (flags > 1) throw new MalformedPacket('malformed connack'); // [MQTT-3.2.2-1]
      const reasonCode = body.byte();
      // A broker that knows 3.1.1 only refuses MQTT 5 in its own form, which has no properties.
      const isOlderRefusal = reasonCode !== 0 && body.left === 0;
      return { kind, sessionPresent: flags === 1, reasonCode, properties: isOlderRefusal ? undefined : properties() };
    }
    case 'puback': {
      const packetId = packetIdOf(body.uint16());
      const reasonCode = version === 5 && body.left > 0 ? body.byte() : 0;
      return { kind, packetId, reasonCode, properties: body.left > 0 ? properties() : undefined };
    }
    case 'subscribe':
      return {
        kind,
        packetId: packetIdOf(body.uint16()),
        properties: properties(),
        subscriptions: oneOrMore(kind, body, () => decodeSubscription(version, body)),
      };
    case 'unsubscribe':
      return {
        kind,
        packetId: packetIdOf(body.uint16()),
        properties: properties(),
        filters: oneOrMore(kind, body, () => filterOf(body)),
      };
    case 'suback':
      return {
        kind,
        packetId: packetIdOf(body.uint16()),
        properties: properties(),
        reasonCodes: oneOrMore(kind, body, () => body.byte()),
      };
    case 'unsuback':
      return {
        kind,
        packetId: packetIdOf(body.uint16()),
        properties: properties(),
        reasonCodes: version === 5 ? oneOrMore(kind, body, () => body.byte()) : [],
      };
    case 'disconnect': {
      const reasonCode = version === 5 && body.left > 0 ? body.byte() : 0;
      return { kind, reasonCode, properties: body.left > 0 ? properties() : undefined };
    }
    case 'pingreq':
    case 'pingresp':
      return { kind };
  }
}

function decodePublish(version: MqttVersion | undefined, first: number, body: ByteReader): ReceivedPacket {
  if (version === undefined) throw new MalformedPacket('expected CONNECT, found publish', PROTOCOL_ERROR);
  const qos = (first >> 1) & 3;
  if (qos === 3) throw new MalformedPacket('malformed publish'); // [MQTT-3.3.1-4]
  const topic = body.text();
  const packetId = qos === 0 ? 0 : packetIdOf(body.uint16());
  const properties = version === 5 ? decodeProperties(body, 'publish') : undefined;
  if (topic === '' && properties?.topicAlias === undefined)
    throw new MalformedPacket('malformed publish', PROTOCOL_ERROR);
  return {
    kind: 'publish',
    topic,
    payload: body.rest(),
    qos: qos as 0 | 1 | 2,
    dup: (first & 8) !== 0,
    retain: (first & 1) !== 0,
    packetId,
    properties,
  };
}

/** User name, password and will are read and left out: nothing of ours uses them. */
function decodeConnect(body: ByteReader): ReceivedPacket {
  const name = body.text();
  const level = body.byte();
  if (name !== 'MQTT' || (level !== 4 && level !== 5)) {
    throw new MalformedPacket(`expected MQTT 3.1.1 or 5, found ${JSON.stringify(name)} ${level}`, UNSUPPORTED_PROTOCOL);
  }
  const flags = body.byte();
  const hasWill = (flags & WILL) !== 0;
  if ((flags & RESERVED) !== 0 || (!hasWill && (flags & WILL_BITS) !== 0))
    throw new MalformedPacket('malformed connect');
  const keepAlive = body.uint16();
  const properties = level === 5 ? decodeProperties(body, 'connect') : undefined;
  const clientId = body.text();
  if (hasWill) {
    if (level === 5) decodeProperties(body, 'will');
    body.text();
    body.bytes();
  }
  if ((flags & 0x80) !== 0) body.text();
  if ((flags & 0x40) !== 0) body.bytes();
  return { kind: 'connect', version: level, clientId, cleanStart: (flags & 2) !== 0, keepAlive, hasWill, properties };
}

function decodeSubscription(version: MqttVersion, body: ByteReader): Required<Subscription> {
  const filter = filterOf(body);
  const options = body.byte();
  const qos = options & 3;
  const retainHandling = (options >> 4) & 3;
  if (qos === 3 || retainHandling === 3 || (options & (version === 5 ? 0xc0 : 0xfc)) !== 0) {
    throw new MalformedPacket('malformed subscribe', qos === 3 || retainHandling === 3 ? PROTOCOL_ERROR : undefined);
  }
  return {
    filter,
    qos: qos as 0 | 1 | 2,
    noLocal: (options & 4) !== 0,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

function filterOf(body: ByteReader): string {
  const filter = body.text();
  if (filter === '') throw new MalformedPacket('malformed filter'); // [MQTT-4.7.3-1]
  return filter;
}

function packetIdOf(value: number): number {
  if (value === 0) throw new MalformedPacket('malformed packet identifier', PROTOCOL_ERROR); // [MQTT-2.3.1-1]
  return value;
}

function oneOrMore<T>(kind: PacketKind, body: ByteReader, next: () => T): readonly T[] {
  const all: T[] = [];
  while (body.left > 0) all.push(next());
  if (all.length === 0) throw new MalformedPacket(`malformed ${kind}`, PROTOCOL_ERROR); // [MQTT-3.8.3-3]
  return all;
}
