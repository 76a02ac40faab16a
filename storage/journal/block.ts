/**
 * The format of messages on disk: a block holds consecutive messages, `meta` with four numbers for each and
 * `data` with their bytes, one behind the other. Numbers are unsigned, of 32 bits, little-endian.
 *
 *   0  source (a device and a stream of it, by its number in the segment); 0: removed
 *   1  received at, ms since the epoch, the low 32 bits
 *   2  how many bytes of `data`
 *   3  received at, the bits above, from bit 16; bits 12 to 15 and 2 to 7: 0, so that a later format can set them; bits 10 and 11: payload format indicator plus one, 0 when not sent; bit 9: there are
 *      properties before the payload (`message-properties.ts`); bit 8: the bytes begin with extras; bits 0 and 1: QoS
 *
 * Extras: device time and sequence (64-bit floats, NaN when not sent), length of key and content type (16 bits each), both texts. The
 * content type is here in blocks of schema 2 alone, which have no properties.
 */

import { crc32 } from 'node:zlib';
import { Problem, type UserProperty } from '@rollcall/protocol';
import type { JournalMessage } from './message.ts';
import { propertiesLength, putProperties, readProperties } from './message-properties.ts';

export const WORDS = 4;
export const META_BYTES = WORDS * 4;

const SOURCE = 0;
const TIME_LOW = 1;
const LENGTH = 2;
const REST = 3;

const HAS_EXTRAS = 0x100;
const HAS_PROPERTIES = 0x200;
const FORMAT_SHIFT = 10;
const FORMAT = 0x3;
const QOS = 0x3;
/** Of formats of a later release. */
const UNKNOWN = 0xf0fc;
const TWO_TO_32 = 4_294_967_296;
const EXTRAS_BYTES = 20;

/** What a message says of itself besides its payload. */
export interface Extras {
  readonly deviceTime: number | null;
  readonly deviceSequence: number | null;
  readonly key: string | null;
  readonly contentType: string | null;
  readonly payloadFormatIndicator: 0 | 1 | null;
  readonly userProperties: readonly UserProperty[] | null;
}

const NO_EXTRAS: Extras = {
  deviceTime: null,
  deviceSequence: null,
  key: null,
  contentType: null,
  payloadFormatIndicator: null,
  userProperties: null,
};

function hasExtras({ deviceTime, deviceSequence, key }: JournalMessage): boolean {
  return deviceTime !== undefined || deviceSequence !== undefined || key !== undefined;
}

/** Bytes of `data` that a message takes. */
export function dataLength(message: JournalMessage): number {
  const { payload, key = '', contentType, userProperties } = message;
  let length = payload.byteLength;
  if (contentType !== undefined || userProperties !== undefined) length += propertiesLength(message);
  return hasExtras(message) ? length + EXTRAS_BYTES + Buffer.byteLength(key) : length;
}

/** Writes the message as number `index` of `meta`, its bytes at `start` of `data`. Returns where they end. */
export function putMessage(
  message: JournalMessage,
  source: number,
  { meta, data, index, start }: { meta: Uint32Array; data: Buffer; index: number; start: number },
): number {
  const { receivedAt, qos, payload, payloadFormatIndicator, contentType, userProperties } = message;
  let flags: number = qos;
  let at = start;
  if (hasExtras(message)) {
    const { deviceTime, deviceSequence, key = '' } = message;
    flags |= HAS_EXTRAS;
    at = data.writeDoubleLE(deviceTime ?? Number.NaN, at);
    at = data.writeDoubleLE(deviceSequence ?? Number.NaN, at);
    at = data.writeUInt16LE(Buffer.byteLength(key), at);
    at = data.writeUInt16LE(0, at);
    at += data.write(key, at);
  }
  if (payloadFormatIndicator !== undefined) flags |= (payloadFormatIndicator + 1) << FORMAT_SHIFT;
  if (contentType !== undefined || (userProperties !== undefined && userProperties.length > 0)) {
    flags |= HAS_PROPERTIES;
    at = putProperties(message, data, at);
  }
  data.set(payload, at);
  at += payload.byteLength;
  const word = index * WORDS;
  meta[word + SOURCE] = source;
  meta[word + TIME_LOW] = receivedAt >>> 0;
  meta[word + LENGTH] = at - start;
  meta[word + REST] = (Math.floor(receivedAt / TWO_TO_32) << 16) | flags;
  return at;
}

export function sourceOf(meta: Uint32Array, index: number): number {
  return meta[index * WORDS + SOURCE] as number;
}

export function setSource(meta: Uint32Array, index: number, source: number): void {
  meta[index * WORDS + SOURCE] = source;
}

export function lengthOf(meta: Uint32Array, index: number): number {
  return meta[index * WORDS + LENGTH] as number;
}

/** Removes the message; its position stays taken. */
export function eraseMessage(meta: Uint32Array, index: number): void {
  meta.fill(0, index * WORDS, (index + 1) * WORDS);
}

export function timeOf(meta: Uint32Array, index: number): number {
  const word = index * WORDS;
  return ((meta[word + REST] as number) >>> 16) * TWO_TO_32 + (meta[word + TIME_LOW] as number);
}

export function qosOf(meta: Uint32Array, index: number): number {
  return (meta[index * WORDS + REST] as number) & QOS;
}

/** The bytes of a message, split. They share memory with `bytes`. Throws Problem `database_newer` for a format of a later release. */
export function splitBytes(meta: Uint32Array, index: number, bytes: Buffer): { payload: Buffer; extras: Extras } {
  const rest = meta[index * WORDS + REST] as number;
  if ((rest & UNKNOWN) !== 0) {
    throw new Problem('database_newer', {
      reason: `expected a stored message of a known format, found format bits ${(rest & UNKNOWN).toString(16)}`,
      hint: 'read it with the release that wrote it, or a newer one',
    });
  }
  const format = (rest >>> FORMAT_SHIFT) & FORMAT;
  if ((rest & (HAS_EXTRAS | HAS_PROPERTIES)) === 0 && format === 0) return { payload: bytes, extras: NO_EXTRAS };
  const payloadFormatIndicator = format === 0 ? null : format === 1 ? 0 : 1;
  let extras: Extras = { ...NO_EXTRAS, payloadFormatIndicator };
  let at = 0;
  if ((rest & HAS_EXTRAS) !== 0) {
    const number = (from: number) => {
      const value = bytes.readDoubleLE(from);
      return Number.isNaN(value) ? null : value;
    };
    const keyEnd = EXTRAS_BYTES + bytes.readUInt16LE(16);
    at = keyEnd + bytes.readUInt16LE(18);
    const text = (from: number, to: number) => (from === to ? null : bytes.toString('utf8', from, to));
    const [key, contentType] = [text(EXTRAS_BYTES, keyEnd), text(keyEnd, at)];
    extras = { ...extras, deviceTime: number(0), deviceSequence: number(8), key, contentType };
  }
  if ((rest & HAS_PROPERTIES) !== 0) {
    const { contentType, userProperties, end } = readProperties(bytes, at);
    at = end;
    extras = { ...extras, contentType, userProperties };
  }
  return { payload: bytes.subarray(at), extras };
}

export function checksumOf(meta: Uint8Array, data: Uint8Array): number {
  return crc32(data, crc32(meta));
}

/** A block as SQLite gives it. */
export type BlockRow = readonly [position: number, checksum: number, meta: Buffer, data: Buffer];

export interface Block {
  /** Of its first message. */
  readonly position: number;
  readonly count: number;
  readonly meta: Uint32Array;
  readonly data: Buffer;
}

/** Throws Problem `database_damaged` for bytes that changed since they were written. */
export function readBlock([position, checksum, meta, data]: BlockRow): Block {
  if (checksumOf(meta, data) !== checksum) {
    throw new Problem('database_damaged', {
      reason: `expected block ${position} as it was written, found other bytes`,
    });
  }
  return { position, count: meta.length / META_BYTES, meta: wordsOf(meta), data };
}

/** Buffers of SQLite may be unaligned; 32-bit numbers must be aligned to four bytes. */
export function wordsOf(bytes: Buffer): Uint32Array {
  if (bytes.byteOffset % 4 === 0) return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  return new Uint32Array(new Uint8Array(bytes).buffer);
}
