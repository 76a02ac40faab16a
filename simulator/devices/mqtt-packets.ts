/**
 * MQTT 3.1.1 from the client's side, as bytes: the few packets that a device writes, and a reader of those that it gets.
 * Written by hand because a general library's objects cost more than the TLS record they travel in.
 */

export const CONNACK = 2;
export const PUBLISH = 3;
export const PUBACK = 4;
export const SUBACK = 9;

export const PINGREQ = Buffer.from([0xc0, 0]);
export const DISCONNECT = Buffer.from([0xe0, 0]);

/** Clean session, no will: section 3.1. */
export function connectPacket(clientId: string, keepaliveSeconds: number): Buffer {
  const length = Buffer.byteLength(clientId);
  const packet = Buffer.allocUnsafe(16 + length);
  const end = header(packet, 0x10, 12 + length);
  packet.set([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0x02, keepaliveSeconds >> 8, keepaliveSeconds & 0xff], end);
  return packet.subarray(0, text(packet, clientId, length, end + 10));
}

/** Section 3.3. `packetId` is ignored for QoS 0. */
export function publishPacket(topic: Buffer, payload: string, qos: 0 | 1, packetId: number): Buffer {
  const bytes = Buffer.byteLength(payload);
  const remaining = 2 + topic.length + (qos === 0 ? 0 : 2) + bytes;
  const packet = Buffer.allocUnsafe(5 + remaining);
  let at = header(packet, 0x30 | (qos << 1), remaining);
  at = packet.writeUInt16BE(topic.length, at);
  at += topic.copy(packet, at);
  if (qos === 1) at = packet.writeUInt16BE(packetId, at);
  at += packet.write(payload, at);
  return packet.subarray(0, at);
}

export function pubackPacket(packetId: number): Buffer {
  return Buffer.from([0x40, 2, packetId >> 8, packetId & 0xff]);
}

/** Section 3.8. */
export function subscribePacket(packetId: number, filters: readonly string[], qos: 0 | 1): Buffer {
  const body = Buffer.concat([
    Buffer.from([packetId >> 8, packetId & 0xff]),
    ...filters.flatMap((filter) => {
      const bytes = Buffer.from(filter);
      return [Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes, Buffer.from([qos])];
    }),
  ]);
  const packet = Buffer.allocUnsafe(5 + body.length);
  const at = header(packet, 0x82, body.length);
  return packet.subarray(0, at + body.copy(packet, at));
}

/** Writes type and remaining length (section 2.2.3); returns where the rest begins. */
function header(packet: Buffer, first: number, remaining: number): number {
  packet[0] = first;
  let at = 1;
  let left = remaining;
  do {
    packet[at] = (left & 0x7f) | (left > 0x7f ? 0x80 : 0);
    left >>= 7;
    at += 1;
  } while (left > 0);
  return at;
}

function text(packet: Buffer, value: string, length: number, at: number): number {
  packet.writeUInt16BE(length, at);
  return at + 2 + packet.write(value, at + 2);
}

/** `body` is only valid during the call. `first` is the first byte: type and flags. */
export type PacketHandler = (first: number, body: Buffer) => void;

/** Cuts a stream into packets. It keeps nothing between packets, so an idle connection costs it nothing. */
export class PacketReader {
  #rest: Buffer | undefined;

  /** `bytes` is read before it returns. Throws a RangeError for a length that is none (section 2.2.3). */
  push(bytes: Buffer, handle: PacketHandler): void {
    const data = this.#rest === undefined ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#rest = undefined;
    let at = 0;
    while (at < data.length) {
      let remaining = 0;
      let factor = 1;
      let head = at + 1;
      let byte = 0x80;
      while (byte & 0x80 && head < data.length) {
        if (head - at > 4) throw new RangeError('expected a remaining length of at most four bytes');
        byte = data[head] as number;
        remaining += (byte & 0x7f) * factor;
        factor *= 128;
        head += 1;
      }
      if (byte & 0x80 || head + remaining > data.length) {
        this.#rest = Buffer.from(data.subarray(at));
        return;
      }
      handle(data[at] as number, data.subarray(head, head + remaining));
      at = head + remaining;
    }
  }
}

export interface ReceivedPublish {
  readonly topic: string;
  readonly qos: number;
  readonly packetId: number;
  readonly payload: Buffer;
}

export function readPublish(first: number, body: Buffer): ReceivedPublish {
  const qos = (first >> 1) & 3;
  const length = body.readUInt16BE(0);
  const topic = body.toString('utf8', 2, 2 + length);
  const packetId = qos === 0 ? 0 : body.readUInt16BE(2 + length);
  return { topic, qos, packetId, payload: body.subarray(2 + length + (qos === 0 ? 0 : 2)) };
}
