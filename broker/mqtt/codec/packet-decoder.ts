/**
 * Frames a byte stream into MQTT packets and validates them. The handlers get only whole packets that the client's MQTT version, 3.1.1
 * or 5, allows a client to send, within the limits. A state machine without sockets or timers.
 *
 * Memory: at most twice the received bytes of one packet. A declared length is checked before any byte of the packet is buffered.
 */

import {
  type AcknowledgementPacket,
  type PacketHandlers,
  PacketType,
  type ProtocolVersion,
  type PublishPacket,
} from '../packets.ts';
import { readConnect, readVersion } from './connect-packet.ts';
import type { PacketLimits } from './packet-limits.ts';
import { FAULTS, Fault, type ProtocolViolation } from './protocol-violations.ts';
import { readPublish } from './publish-packet.ts';
import { readAcknowledgement, readDisconnect } from './reason-code-packets.ts';
import { readSubscribe, readUnsubscribe } from './subscribe-packets.ts';

type Phase = 'connect' | 'open' | 'finished' | 'broken';

const NOTHING = Buffer.alloc(0);
const HEADER_MAX = 5;
const INITIAL_BUFFER = 512;

const publish: PublishPacket = {
  bytes: NOTHING,
  start: 0,
  end: 0,
  qos: 0,
  dup: false,
  retain: false,
  topicStart: 0,
  topicEnd: 0,
  packetId: 0,
  payload: 0,
  properties: undefined,
};

export class PacketDecoder {
  readonly #limits: PacketLimits;
  #phase: Phase = 'connect';
  #version: ProtocolVersion | undefined;
  /** The session ends with the connection, and DISCONNECT cannot change that (MQTT 5, 3.14.2.2.2). */
  #endsSession = false;
  /** The received part of an incomplete packet. */
  #buffer: Buffer = NOTHING;
  #bufferBytes = 0;
  #violation: ProtocolViolation | undefined;
  /** The end of a chunk that the handlers have not accepted yet. */
  #unread: Buffer | undefined;

  constructor(limits: PacketLimits) {
    this.#limits = limits;
  }

  /** As CONNECT states it, also an invalid one; undefined before, and for a version that the broker does not speak. */
  get version(): ProtocolVersion | undefined {
    return this.#version;
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
   * Decodes the next bytes of the stream and passes each complete packet to the handlers, in order. Returns the first violation. After
   * it, and after DISCONNECT, the handlers get no packet.
   */
  push(chunk: Buffer, handlers: PacketHandlers): ProtocolViolation | undefined {
    if (this.#unread === undefined) return this.#read(chunk, handlers);
    this.#unread = Buffer.concat([this.#unread, chunk]);
    return undefined;
  }

  /** Decodes the bytes that the handlers did not accept before. */
  resume(handlers: PacketHandlers): ProtocolViolation | undefined {
    const rest = this.#unread;
    if (rest === undefined) return undefined;
    this.#unread = undefined;
    return this.#read(rest, handlers);
  }

  #read(chunk: Buffer, handlers: PacketHandlers): ProtocolViolation | undefined {
    let at = 0;
    if (this.#bufferBytes > 0) {
      if (!handlers.mayReceive(this.#buffer[0] as number)) {
        this.#unread = chunk;
        return undefined;
      }
      at = this.#completeBuffered(chunk, handlers);
      if (at < 0) return this.#violation;
    }
    while (at < chunk.length) {
      if (this.#phase === 'finished') return undefined;
      if (this.#phase === 'broken') return this.#violation;
      if (!handlers.mayReceive(chunk[at] as number)) {
        this.#unread = chunk.subarray(at);
        return undefined;
      }
      const total = this.#packetLength(chunk, at, chunk.length);
      if (total < 0) return this.#violation;
      if (total === 0 || at + total > chunk.length) {
        this.#append(chunk, at, chunk.length, total);
        return undefined;
      }
      if (!this.#deliver(chunk, at, at + total, handlers)) return this.#violation;
      at += total;
    }
    return undefined;
  }

  /** Completes the buffered packet. Returns where the next one starts in the chunk, or -1 after a violation. */
  #completeBuffered(chunk: Buffer, handlers: PacketHandlers): number {
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
    return this.#deliver(bytes, 0, total, handlers) ? end : -1;
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
    const type = first >> 4;
    const fault = this.#firstByteFault(first, type);
    if (fault !== undefined) return this.#break(fault, type);
    let remaining = 0;
    let position = at + 1;
    for (let shift = 0; ; shift += 7) {
      if (position >= end) return 0;
      const digit = bytes[position] as number;
      position += 1;
      remaining |= (digit & 0x7f) << shift;
      if (digit < 0x80) {
        if (digit === 0 && shift > 0) return this.#break(FAULTS.lengthMalformed, type);
        break;
      }
      if (shift === 21) return this.#break(FAULTS.lengthMalformed, type);
    }
    const total = position - at + remaining;
    if (this.#phase === 'connect') {
      if (total > this.#limits.connectPacket) return this.#break(FAULTS.connectTooLarge, type);
    } else {
      if (total > this.#limits.packet) return this.#break(FAULTS.packetTooLarge, type);
      if (!isLengthOfType(type, remaining, this.#version)) return this.#break(FAULTS.lengthWrong, type);
    }
    return total;
  }

  #firstByteFault(first: number, type: number): Fault | undefined {
    if (this.#phase === 'connect') return first === 0x10 ? undefined : FAULTS.firstNotConnect;
    if (type !== PacketType.publish) return firstByteFault(first, type, this.#version);
    if ((first & 0x06) === 0x06) return FAULTS.publishQos;
    return (first & 0x0e) === 0x08 ? FAULTS.publishDup : undefined;
  }

  #deliver(bytes: Buffer, start: number, end: number, handlers: PacketHandlers): boolean {
    let body = start + 2;
    while ((bytes[body - 1] as number) >= 0x80) body += 1;
    const first = bytes[start] as number;
    const type = first >> 4;
    if (type !== PacketType.publish) {
      const fault = this.#pass(type, bytes, body, end, end - start, handlers);
      return fault === undefined || this.#break(fault, type) > 0;
    }
    publish.start = start;
    const version = this.#version as ProtocolVersion;
    const fault = readPublish(bytes, first, body, end, version, this.#limits, publish);
    if (fault !== undefined) return this.#break(fault, type) > 0;
    handlers.publish(publish, end - start);
    publish.bytes = NOTHING;
    return true;
  }

  /** Reads a packet other than PUBLISH and passes it on. */
  #pass(type: number, bytes: Buffer, body: number, end: number, total: number, to: PacketHandlers): Fault | undefined {
    const limits = this.#limits;
    if (type === PacketType.connect) return this.#passConnect(bytes, body, end, total, to);
    const version = this.#version as ProtocolVersion;
    switch (type) {
      case PacketType.subscribe: {
        const packet = readSubscribe(bytes, body, end, version, limits);
        if (packet instanceof Fault) return packet;
        to.subscribe(packet, total);
        return undefined;
      }
      case PacketType.unsubscribe: {
        const packet = readUnsubscribe(bytes, body, end, version, limits);
        if (packet instanceof Fault) return packet;
        to.unsubscribe(packet, total);
        return undefined;
      }
      case PacketType.pingreq:
        to.pingreq(total);
        return undefined;
      case PacketType.disconnect: {
        const packet = readDisconnect(bytes, body, end, version, limits, this.#endsSession);
        if (packet instanceof Fault) return packet;
        this.#phase = 'finished';
        to.disconnect(packet, total);
        return undefined;
      }
      default: {
        const packet = readAcknowledgement(bytes, type as AcknowledgementPacket['type'], body, end, limits);
        if (packet instanceof Fault) return packet;
        to.acknowledgement(packet, total);
        return undefined;
      }
    }
  }

  #passConnect(bytes: Buffer, body: number, end: number, total: number, to: PacketHandlers): Fault | undefined {
    const version = readVersion(bytes, body, end);
    if (version instanceof Fault) return version;
    this.#version = version;
    const packet = readConnect(bytes, body, end, version, this.#limits);
    if (packet instanceof Fault) return packet;
    this.#endsSession = packet.sessionExpiryInterval === 0;
    this.#phase = 'open';
    to.connect(packet, total);
    return undefined;
  }

  #break(fault: Fault, type: number): -1 {
    this.#violation = fault.in(type, this.#version);
    this.#phase = 'broken';
    this.#buffer = NOTHING;
    this.#bufferBytes = 0;
    publish.bytes = NOTHING;
    return -1;
  }
}

/** Packet type and flags (section 2.1) of every packet but PUBLISH, once CONNECT has been seen. */
function firstByteFault(first: number, type: number, version: ProtocolVersion | undefined): Fault | undefined {
  const flags = first & 0x0f;
  switch (type) {
    case PacketType.connect:
      return flags === 0 ? FAULTS.secondConnect : FAULTS.flags;
    case PacketType.puback:
    case PacketType.pubrec:
    case PacketType.pubcomp:
    case PacketType.pingreq:
    case PacketType.disconnect:
      return flags === 0 ? undefined : FAULTS.flags;
    case PacketType.pubrel:
    case PacketType.subscribe:
    case PacketType.unsubscribe:
      return flags === 2 ? undefined : FAULTS.flags;
    case PacketType.auth:
      if (version === 4) return FAULTS.reservedType;
      return flags === 0 ? FAULTS.authUnexpected : FAULTS.flags;
    case 0:
      return FAULTS.reservedType;
    default:
      return FAULTS.serverPacket;
  }
}

/** Checked before the body is received. */
function isLengthOfType(type: number, remaining: number, version: ProtocolVersion | undefined): boolean {
  switch (type) {
    case PacketType.puback:
    case PacketType.pubrec:
    case PacketType.pubrel:
    case PacketType.pubcomp:
      return version === 4 ? remaining === 2 : remaining >= 2;
    case PacketType.pingreq:
      return remaining === 0;
    case PacketType.disconnect:
      return version === 5 || remaining === 0;
    default:
      return true;
  }
}
