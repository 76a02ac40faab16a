/**
 * Frames a byte stream into MQTT packets and validates them. The receiver gets only whole packets that
 * MQTT 3.1.1 allows a client to send, within the limits. A state machine without sockets or timers.
 *
 * Memory: at most twice the received bytes of one packet. A declared length is checked before any byte of the
 * packet is buffered.
 */

import { topicNameFault } from './codec/mqtt-text.ts';
import {
  type ConnectFields,
  fieldEnd,
  length16,
  type PacketBodyLimits,
  readConnect,
  subscribeViolation,
  textViolation,
  unsubscribeViolation,
} from './packet-validation.ts';
import { type ProtocolViolation, VIOLATIONS } from './protocol-violations.ts';

export const PacketType = {
  connect: 1,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  unsubscribe: 10,
  pingreq: 12,
  disconnect: 14,
} as const;

export interface PacketLimits extends PacketBodyLimits {
  readonly packet: number;
  readonly connectPacket: number;
}

/**
 * One whole, valid packet. The object is reused: its fields are valid only during the call that passes it on, except
 * `bytes`, which then belongs to the receiver.
 */
export interface DecodedPacket {
  bytes: Buffer;
  /** The packet: fixed header included, `end` exclusive. */
  start: number;
  end: number;
  /** First byte after the fixed header. */
  body: number;
  /** A value of {@link PacketType}. */
  type: number;
  /** PUBLISH only: QoS, retain flag, topic as a range of bytes, packet identifier (0 with QoS 0), first payload byte. */
  qos: number;
  retain: boolean;
  topicStart: number;
  topicEnd: number;
  packetId: number;
  payload: number;
}

export interface PacketReceiver {
  /** Called before each packet, with its first byte. False: the rest of the chunk is buffered until `resume()`. */
  mayReceive(first: number): boolean;
  /** The first packet. */
  connectDecoded(packet: DecodedPacket, connect: ConnectFields): void;
  /** Every other packet; none comes after DISCONNECT. */
  packetDecoded(packet: DecodedPacket): void;
}

type Phase = 'connect' | 'open' | 'finished' | 'broken';

const NOTHING = Buffer.alloc(0);
const HEADER_MAX = 5;
const INITIAL_BUFFER = 512;

const decoded: DecodedPacket = {
  bytes: NOTHING,
  start: 0,
  end: 0,
  body: 0,
  type: 0,
  qos: 0,
  retain: false,
  topicStart: 0,
  topicEnd: 0,
  packetId: 0,
  payload: 0,
};

export class PacketDecoder {
  readonly #limits: PacketLimits;
  #phase: Phase = 'connect';
  /** The received part of an incomplete packet. */
  #buffer: Buffer = NOTHING;
  #bufferBytes = 0;
  #violation: ProtocolViolation | undefined;
  /** The end of a chunk that the receiver has not accepted yet. */
  #unread: Buffer | undefined;

  constructor(limits: PacketLimits) {
    this.#limits = limits;
  }

  /** Buffered bytes of an incomplete packet. */
  get bufferedBytes(): number {
    return this.#bufferBytes;
  }

  /** Bytes wait for `resume()`. Bytes that are pushed meanwhile are added to them. */
  get hasUnreadBytes(): boolean {
    return this.#unread !== undefined;
  }

  /**
   * Decodes the next bytes of the stream and passes each complete packet to the receiver, in order. Returns the first
   * violation. After it, and after DISCONNECT, the receiver gets no packet.
   */
  push(chunk: Buffer, receiver: PacketReceiver): ProtocolViolation | undefined {
    if (this.#unread === undefined) return this.#read(chunk, receiver);
    this.#unread = Buffer.concat([this.#unread, chunk]);
    return undefined;
  }

  /** Decodes the bytes that the receiver did not accept before. */
  resume(receiver: PacketReceiver): ProtocolViolation | undefined {
    const rest = this.#unread;
    if (rest === undefined) return undefined;
    this.#unread = undefined;
    return this.#read(rest, receiver);
  }

  #read(chunk: Buffer, receiver: PacketReceiver): ProtocolViolation | undefined {
    if (!receiver.mayReceive((this.#bufferBytes > 0 ? this.#buffer : chunk)[0] as number)) {
      this.#unread = chunk;
      return undefined;
    }
    let at = 0;
    if (this.#bufferBytes > 0) {
      at = this.#completeBuffered(chunk, receiver);
      if (at < 0) return this.#violation;
    }
    while (at < chunk.length) {
      if (this.#phase === 'finished') return undefined;
      if (this.#phase === 'broken') return this.#violation;
      if (!receiver.mayReceive(chunk[at] as number)) {
        this.#unread = chunk.subarray(at);
        return undefined;
      }
      const total = this.#packetLength(chunk, at, chunk.length);
      if (total < 0) return this.#violation;
      if (total === 0 || at + total > chunk.length) {
        this.#append(chunk, at, chunk.length, total);
        return undefined;
      }
      if (!this.#deliver(chunk, at, at + total, receiver)) return this.#violation;
      at += total;
    }
    return undefined;
  }

  /** Completes the buffered packet. Returns where the next one starts in the chunk, or -1 after a violation. */
  #completeBuffered(chunk: Buffer, receiver: PacketReceiver): number {
    let at = 0;
    let total = this.#packetLength(this.#buffer, 0, this.#bufferBytes);
    while (total === 0 && at < chunk.length) {
      this.#append(chunk, at, at + 1, HEADER_MAX);
      at += 1;
      total = this.#packetLength(this.#buffer, 0, this.#bufferBytes);
    }
    if (total < 0) return -1;
    if (total === 0) return at;
    const end = Math.min(chunk.length, at + total - this.#bufferBytes);
    if (end > at) this.#append(chunk, at, end, total);
    if (this.#bufferBytes < total) return chunk.length;
    const bytes = this.#buffer;
    this.#buffer = NOTHING;
    this.#bufferBytes = 0;
    return this.#deliver(bytes, 0, total, receiver) ? end : -1;
  }

  /** Buffers bytes. The buffer grows with the received bytes, not with the declared length. */
  #append(chunk: Buffer, start: number, end: number, total: number): void {
    const needed = this.#bufferBytes + end - start;
    if (needed > this.#buffer.length) {
      const grown = Math.max(needed, Math.min(total, Math.max(INITIAL_BUFFER, this.#buffer.length * 2)));
      const larger = Buffer.allocUnsafeSlow(grown);
      this.#buffer.copy(larger, 0, 0, this.#bufferBytes);
      this.#buffer = larger;
    }
    chunk.copy(this.#buffer, this.#bufferBytes, start, end);
    this.#bufferBytes = needed;
  }

  /** Length of the packet at `at`, header included. 0: not known yet. -1: a violation. */
  #packetLength(bytes: Buffer, at: number, end: number): number {
    const first = bytes[at] as number;
    const fault =
      this.#phase === 'connect' ? (first === 0x10 ? undefined : VIOLATIONS.firstNotConnect) : firstByteViolation(first);
    if (fault !== undefined) return this.#break(fault);
    let remaining = 0;
    let position = at + 1;
    for (let shift = 0; ; shift += 7) {
      if (position >= end) return 0;
      const digit = bytes[position] as number;
      position += 1;
      remaining |= (digit & 0x7f) << shift;
      if (digit < 0x80) {
        if (digit === 0 && shift > 0) return this.#break(VIOLATIONS.lengthMalformed);
        break;
      }
      if (shift === 21) return this.#break(VIOLATIONS.lengthMalformed);
    }
    const total = position - at + remaining;
    if (this.#phase === 'connect') {
      if (total > this.#limits.connectPacket) return this.#break(VIOLATIONS.connectTooLarge);
    } else {
      if (total > this.#limits.packet) return this.#break(VIOLATIONS.packetTooLarge);
      const length = lengthViolation(first >> 4, remaining);
      if (length !== undefined) return this.#break(length);
    }
    return total;
  }

  #deliver(bytes: Buffer, start: number, end: number, receiver: PacketReceiver): boolean {
    let body = start + 2;
    while ((bytes[body - 1] as number) >= 0x80) body += 1;
    const first = bytes[start] as number;
    decoded.bytes = bytes;
    decoded.start = start;
    decoded.end = end;
    decoded.body = body;
    decoded.type = first >> 4;

    if (this.#phase === 'connect') {
      const read = readConnect(bytes, body, end, this.#limits);
      if ('violation' in read) return this.#break(read.violation) > 0;
      this.#phase = 'open';
      receiver.connectDecoded(decoded, read.connect);
    } else {
      const fault = this.#bodyFault(first, bytes, body, end);
      if (fault !== undefined) return this.#break(fault) > 0;
      if (decoded.type === PacketType.disconnect) this.#phase = 'finished';
      receiver.packetDecoded(decoded);
    }
    decoded.bytes = NOTHING;
    return true;
  }

  #bodyFault(first: number, bytes: Buffer, body: number, end: number): ProtocolViolation | undefined {
    switch (first >> 4) {
      case PacketType.publish:
        return this.#publishFault(first, bytes, body, end);
      case PacketType.subscribe:
        return subscribeViolation(bytes, body, end, this.#limits);
      case PacketType.unsubscribe:
        return unsubscribeViolation(bytes, body, end, this.#limits);
      case PacketType.pingreq:
      case PacketType.disconnect:
        return undefined;
      default:
        return length16(bytes, body) === 0 ? VIOLATIONS.packetId : undefined;
    }
  }

  #publishFault(first: number, bytes: Buffer, body: number, end: number): ProtocolViolation | undefined {
    const topicEnd = fieldEnd(bytes, body, end);
    if (topicEnd < 0) return VIOLATIONS.truncated;
    const fault = topicNameFault(bytes, body + 2, topicEnd, this.#limits);
    if (fault !== undefined) return textViolation(fault);
    decoded.qos = (first >> 1) & 0x03;
    decoded.retain = (first & 0x01) !== 0;
    decoded.topicStart = body + 2;
    decoded.topicEnd = topicEnd;
    decoded.packetId = 0;
    decoded.payload = topicEnd;
    if (decoded.qos > 0) {
      if (topicEnd + 2 > end) return VIOLATIONS.truncated;
      decoded.packetId = length16(bytes, topicEnd);
      if (decoded.packetId === 0) return VIOLATIONS.packetId;
      decoded.payload = topicEnd + 2;
    }
    return undefined;
  }

  #break(violation: ProtocolViolation): -1 {
    this.#violation = violation;
    this.#phase = 'broken';
    this.#buffer = NOTHING;
    this.#bufferBytes = 0;
    return -1;
  }
}

/** Packet type and flags (MQTT 3.1.1, tables 2.1 and 2.2), once CONNECT has been seen. */
function firstByteViolation(first: number): ProtocolViolation | undefined {
  switch (first >> 4) {
    case PacketType.publish:
      if ((first & 0x06) === 0x06) return VIOLATIONS.publishQos;
      return (first & 0x0e) === 0x08 ? VIOLATIONS.publishDup : undefined;
    case PacketType.connect:
      return (first & 0x0f) === 0 ? VIOLATIONS.secondConnect : VIOLATIONS.flags;
    case PacketType.puback:
    case PacketType.pubrec:
    case PacketType.pubcomp:
    case PacketType.pingreq:
    case PacketType.disconnect:
      return (first & 0x0f) === 0 ? undefined : VIOLATIONS.flags;
    case PacketType.pubrel:
    case PacketType.subscribe:
    case PacketType.unsubscribe:
      return (first & 0x0f) === 2 ? undefined : VIOLATIONS.flags;
    default:
      return VIOLATIONS.packetType;
  }
}

/** Packet types with a fixed length are checked before the body is received. */
function lengthViolation(type: number, remaining: number): ProtocolViolation | undefined {
  switch (type) {
    case PacketType.puback:
    case PacketType.pubrec:
    case PacketType.pubrel:
    case PacketType.pubcomp:
      return remaining === 2 ? undefined : VIOLATIONS.lengthWrong;
    case PacketType.pingreq:
    case PacketType.disconnect:
      return remaining === 0 ? undefined : VIOLATIONS.lengthWrong;
    default:
      return undefined;
  }
}
