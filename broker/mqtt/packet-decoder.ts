/**
 * The gate in front of the MQTT engine: cuts a byte stream into whole packets and lets only packets through that
 * MQTT 3.1.1 allows a client to send, within our limits. A state machine without sockets, timers or engine.
 *
 * Memory: at most twice what has arrived of one packet, and no packet beyond the limit, since a declared length is
 * judged before its bytes are kept.
 */

import { topicNameFault } from './mqtt-text.ts';
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
 * One whole, valid packet. The object is reused: everything in it holds only during the call that hands it over,
 * `bytes` excepted, which belongs to the receiver from then on.
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
  /** Asked before each packet, with its first byte. False: what is left is kept until `resume()`. */
  mayReceive(first: number): boolean;
  /** The first packet. */
  connectDecoded(frame: DecodedPacket, connect: ConnectFields): void;
  /** Every other packet; none comes after DISCONNECT. */
  packetDecoded(frame: DecodedPacket): void;
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
  /** The beginning of a packet whose end has not arrived. */
  #held: Buffer = NOTHING;
  #heldBytes = 0;
  #violation: ProtocolViolation | undefined;
  /** What the receiver didn't want yet: the end of a chunk. */
  #rest: Buffer | undefined;

  constructor(limits: PacketLimits) {
    this.#limits = limits;
  }

  /** Bytes kept of an unfinished packet. */
  get bufferedBytes(): number {
    return this.#heldBytes;
  }

  /** Bytes wait for `resume()`. Whoever reads on all the same makes them more. */
  get hasUnreadBytes(): boolean {
    return this.#rest !== undefined;
  }

  /**
   * Takes the next bytes of the stream and hands each packet that is complete to the receiver, in order. Returns the
   * first violation; from then on, and after DISCONNECT, nothing is handed over any more.
   */
  push(chunk: Buffer, receiver: PacketReceiver): ProtocolViolation | undefined {
    if (this.#rest === undefined) return this.#read(chunk, receiver);
    this.#rest = Buffer.concat([this.#rest, chunk]);
    return undefined;
  }

  /** Goes on with what the receiver didn't want when it came. */
  resume(receiver: PacketReceiver): ProtocolViolation | undefined {
    const rest = this.#rest;
    if (rest === undefined) return undefined;
    this.#rest = undefined;
    return this.#read(rest, receiver);
  }

  #read(chunk: Buffer, receiver: PacketReceiver): ProtocolViolation | undefined {
    if (!receiver.mayReceive((this.#heldBytes > 0 ? this.#held : chunk)[0] as number)) {
      this.#rest = chunk;
      return undefined;
    }
    let at = 0;
    if (this.#heldBytes > 0) {
      at = this.#completeHeld(chunk, receiver);
      if (at < 0) return this.#violation;
    }
    while (at < chunk.length) {
      if (this.#phase === 'finished') return undefined;
      if (this.#phase === 'broken') return this.#violation;
      if (!receiver.mayReceive(chunk[at] as number)) {
        this.#rest = chunk.subarray(at);
        return undefined;
      }
      const total = this.#packetLength(chunk, at, chunk.length);
      if (total < 0) return this.#violation;
      if (total === 0 || at + total > chunk.length) {
        this.#hold(chunk, at, chunk.length, total);
        return undefined;
      }
      if (!this.#deliver(chunk, at, at + total, receiver)) return this.#violation;
      at += total;
    }
    return undefined;
  }

  /** Adds to the held packet; returns where the next one starts in the chunk, or -1 after a violation. */
  #completeHeld(chunk: Buffer, receiver: PacketReceiver): number {
    let at = 0;
    let total = this.#packetLength(this.#held, 0, this.#heldBytes);
    while (total === 0 && at < chunk.length) {
      this.#hold(chunk, at, at + 1, HEADER_MAX);
      at += 1;
      total = this.#packetLength(this.#held, 0, this.#heldBytes);
    }
    if (total < 0) return -1;
    if (total === 0) return at;
    const end = Math.min(chunk.length, at + total - this.#heldBytes);
    if (end > at) this.#hold(chunk, at, end, total);
    if (this.#heldBytes < total) return chunk.length;
    const bytes = this.#held;
    this.#held = NOTHING;
    this.#heldBytes = 0;
    return this.#deliver(bytes, 0, total, receiver) ? end : -1;
  }

  /** Keeps bytes; the buffer grows with what arrives, not with what was announced. */
  #hold(chunk: Buffer, start: number, end: number, total: number): void {
    const needed = this.#heldBytes + end - start;
    if (needed > this.#held.length) {
      const grown = Math.max(needed, Math.min(total, Math.max(INITIAL_BUFFER, this.#held.length * 2)));
      const larger = Buffer.allocUnsafeSlow(grown);
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    chunk.copy(this.#held, this.#heldBytes, start, end);
    this.#heldBytes = needed;
  }

  /** Length of the packet that starts at `at`, header included; 0: not known yet; -1: a violation. */
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
    this.#held = NOTHING;
    this.#heldBytes = 0;
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

/** Lengths that a packet type fixes are judged before the body arrives. */
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
