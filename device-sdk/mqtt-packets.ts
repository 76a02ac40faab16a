/**
 * The packets of MQTT 3.1.1 that a device sends and receives, as bytes. Pure: no socket, no timer. QoS 2 is left out: a
 * device publishes and subscribes with QoS 0 and 1, so no broker may send it any [MQTT-3.8.4-6].
 */

export interface Connect {
  readonly clientId: string;
  readonly clean: boolean;
  /** Seconds, 0 to 65,535. */
  readonly keepalive: number;
}

export interface Publish {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1;
  readonly dup: boolean;
  readonly retain: boolean;
  /** Zero for QoS 0. */
  readonly packetId: number;
}

export type ReceivedPacket =
  | { readonly kind: 'connack'; readonly returnCode: number }
  | ({ readonly kind: 'publish' } & Publish)
  | { readonly kind: 'puback'; readonly packetId: number }
  /** A return code per filter: 0 or 1 granted, 0x80 refused. */
  | { readonly kind: 'suback'; readonly packetId: number; readonly granted: readonly number[] }
  | { readonly kind: 'pingresp' };

const CONNACK = 2;
const PUBLISH = 3;
const PUBACK = 4;
const SUBACK = 9;
const PINGRESP = 13;

export const PINGREQ: Buffer = Buffer.from([0xc0, 0x00]);
export const DISCONNECT: Buffer = Buffer.from([0xe0, 0x00]);

const PROTOCOL = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4]);
const CLEAN_SESSION = 0x02;

export function encodeConnect({ clientId, clean, keepalive }: Connect): Buffer {
  const id = text(clientId);
  const settings = Buffer.from([clean ? CLEAN_SESSION : 0, keepalive >> 8, keepalive & 0xff]);
  const body = Buffer.concat([PROTOCOL, settings, id]);
  return Buffer.concat([head(0x10, body.length), body]);
}

export function encodePublish({ topic, payload, qos, dup, retain, packetId }: Publish): Buffer {
  const topicLength = Buffer.byteLength(topic);
  const length = 2 + topicLength + (qos === 0 ? 0 : 2) + payload.length;
  const start = 1 + lengthOctets(length);
  const packet = Buffer.allocUnsafe(start + length);
  packet[0] = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  writeLength(packet, length);
  packet.writeUInt16BE(topicLength, start);
  packet.write(topic, start + 2, 'utf8');
  let at = start + 2 + topicLength;
  if (qos === 1) at = packet.writeUInt16BE(packetId, at);
  payload.copy(packet, at);
  return packet;
}

export function encodePuback(packetId: number): Buffer {
  return Buffer.from([0x40, 2, packetId >> 8, packetId & 0xff]);
}

/** Asks for QoS 1 on each filter. */
export function encodeSubscribe(packetId: number, filters: readonly string[]): Buffer {
  const body = Buffer.concat([
    Buffer.from([packetId >> 8, packetId & 0xff]),
    ...filters.flatMap((filter) => [text(filter), Buffer.from([1])]),
  ]);
  return Buffer.concat([head(0x82, body.length), body]);
}

/** Takes bytes as they arrive and gives whole packets. */
export class PacketReader {
  readonly #maxBytes: number;
  #rest: Buffer = Buffer.alloc(0);

  /** `maxBytes`: longest packet read. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Throws a RangeError for what no broker may send to this client; nothing can be read after that. */
  read(bytes: Buffer): readonly ReceivedPacket[] {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const packets: ReceivedPacket[] = [];
    let at = 0;
    for (;;) {
      const frame = frameAt(all, at, this.#maxBytes);
      if (frame === undefined) break;
      packets.push(decode(all[at] as number, all.subarray(frame.start, frame.end)));
      at = frame.end;
    }
    this.#rest = at === 0 ? all : Buffer.from(all.subarray(at)); // a copy: a few bytes would hold the whole chunk
    return packets;
  }
}

/** Where the body of the packet at `at` lies; undefined while it is not there whole. */
function frameAt(
  bytes: Buffer,
  at: number,
  maxBytes: number,
): { readonly start: number; readonly end: number } | undefined {
  let length = 0;
  for (let octet = 0; octet < 4; octet += 1) {
    const byte = bytes[at + 1 + octet];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 128 ** octet;
    if (byte < 0x80) {
      if (length > maxBytes) throw new RangeError(`expected a packet of at most ${maxBytes} bytes, found ${length}`);
      const start = at + 2 + octet;
      return start + length <= bytes.length ? { start, end: start + length } : undefined;
    }
  }
  throw malformed('length'); // [MQTT-2.2.3]: four octets at most
}

function decode(first: number, body: Buffer): ReceivedPacket {
  const kind = first >> 4;
  if (kind === PUBLISH) return decodePublish(first & 0x0f, body);
  if ((first & 0x0f) !== 0) throw malformed('flags'); // [MQTT-2.2.2-2]
  if (kind === CONNACK && body.length === 2) return { kind: 'connack', returnCode: body[1] as number };
  if (kind === PUBACK && body.length === 2) return { kind: 'puback', packetId: body.readUInt16BE(0) };
  if (kind === SUBACK && body.length > 2) {
    return { kind: 'suback', packetId: body.readUInt16BE(0), granted: [...body.subarray(2)] };
  }
  if (kind === PINGRESP && body.length === 0) return { kind: 'pingresp' };
  throw malformed(`packet of type ${kind}`);
}

function decodePublish(flags: number, body: Buffer): ReceivedPacket {
  const qos = (flags >> 1) & 3;
  if (qos > 1 || body.length < 2) throw malformed('publish');
  const topicEnd = 2 + body.readUInt16BE(0);
  const payloadAt = topicEnd + (qos === 0 ? 0 : 2);
  if (payloadAt > body.length) throw malformed('publish');
  return {
    kind: 'publish',
    topic: body.toString('utf8', 2, topicEnd),
    payload: Buffer.from(body.subarray(payloadAt)), // a copy: applications keep it
    qos: qos as 0 | 1,
    dup: (flags & 8) !== 0,
    retain: (flags & 1) !== 0,
    packetId: qos === 0 ? 0 : body.readUInt16BE(topicEnd),
  };
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function head(first: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(1 + lengthOctets(length));
  bytes[0] = first;
  writeLength(bytes, length);
  return bytes;
}

function lengthOctets(length: number): number {
  if (length < 128) return 1;
  if (length < 16_384) return 2;
  return length < 2_097_152 ? 3 : 4;
}

/** Remaining length, from the second byte on (MQTT 3.1.1, section 2.2.3). */
function writeLength(packet: Buffer, length: number): void {
  let left = length;
  let at = 1;
  do {
    const more = left >= 128;
    packet[at] = (left & 0x7f) | (more ? 0x80 : 0);
    left >>>= 7;
    at += 1;
  } while (left > 0);
}

function malformed(what: string): RangeError {
  return new RangeError(`malformed ${what}`);
}
