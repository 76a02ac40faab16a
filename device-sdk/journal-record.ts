/**
 * What a segment of the journal holds, byte by byte. Pure: it knows no files.
 *
 *     4  mark      of this segment alone, drawn at random and part of the file's name
 *     1  kind      1 message, 2 settled, 3 message with properties
 *     3  length    of the body
 *     4  CRC-32    over kind, length and body
 *     body of a message   6 sequence number, 6 epoch, 6 queued at (ms), 2 length of topic, topic, payload
 *     body of a message with properties   the same, with the properties in front of the payload, as in PUBLISH of MQTT 5
 *     body of settled     6 sequence number, as often as there are
 *
 * The mark is what the next whole record is found by after a damaged one. The author of a payload does not know it, so
 * no payload can pass for a record; neither can blocks of an older file that a file system gave back after a power cut.
 */

import { decodePropertyBytes, encodeProperties, type PacketProperties } from './mqtt-codec/index.ts';

export const MESSAGE = 1;
export const SETTLED = 2;
const MESSAGE_WITH_PROPERTIES = 3;

const HEAD = 12;
const MESSAGE_HEAD = 20;
const SEQUENCE = 6;

export interface StoredMessage {
  /** Order in the queue. */
  readonly sequence: number;
  /** Six bytes, drawn at random each time a journal is opened: with the sequence number it names the message for good. */
  readonly epoch: Buffer;
  /** Milliseconds since 1970, by the device's clock. */
  readonly queuedAt: number;
  readonly topic: string;
  readonly payload: Buffer;
  /** Undefined for none. */
  readonly properties: PacketProperties | undefined;
}

/** What a message says, apart from its place in the queue. */
export type QueuedContent = Pick<StoredMessage, 'topic' | 'payload'> & Partial<Pick<StoredMessage, 'properties'>>;

export type JournalRecord =
  | { readonly kind: typeof MESSAGE; readonly message: StoredMessage; readonly at: number; readonly length: number }
  | { readonly kind: typeof SETTLED; readonly sequences: readonly number[] };

/** Bytes that a message takes in a segment. */
export function messageSize({ topic, payload, properties }: QueuedContent): number {
  const propertyBytes = properties === undefined ? 0 : encodeProperties(properties).length;
  return HEAD + MESSAGE_HEAD + Buffer.byteLength(topic) + propertyBytes + payload.length;
}

const NONE = Buffer.alloc(0);

export function encodeMessage(mark: number, message: StoredMessage): Buffer {
  const topicLength = Buffer.byteLength(message.topic);
  const properties = message.properties === undefined ? NONE : encodeProperties(message.properties);
  const record = Buffer.allocUnsafe(HEAD + MESSAGE_HEAD + topicLength + properties.length + message.payload.length);
  record.writeUIntBE(message.sequence, HEAD, 6);
  message.epoch.copy(record, HEAD + 6, 0, 6);
  record.writeUIntBE(message.queuedAt, HEAD + 12, 6);
  record.writeUInt16BE(topicLength, HEAD + 18);
  record.write(message.topic, HEAD + MESSAGE_HEAD, 'utf8');
  properties.copy(record, HEAD + MESSAGE_HEAD + topicLength);
  message.payload.copy(record, HEAD + MESSAGE_HEAD + topicLength + properties.length);
  return finishRecord(record, mark, message.properties === undefined ? MESSAGE : MESSAGE_WITH_PROPERTIES);
}

export function encodeSettled(mark: number, sequences: readonly number[]): Buffer {
  const record = Buffer.allocUnsafe(HEAD + sequences.length * SEQUENCE);
  sequences.forEach((sequence, index) => {
    record.writeUIntBE(sequence, HEAD + index * SEQUENCE, SEQUENCE);
  });
  return finishRecord(record, mark, SETTLED);
}

/** The record that begins at `at`, whole and with a matching checksum; undefined for anything else. */
export function decodeRecord(mark: number, bytes: Buffer, at: number): JournalRecord | undefined {
  if (at + HEAD > bytes.length || bytes.readUInt32BE(at) !== mark) return undefined;
  const kind = bytes[at + 4];
  const bodyLength = bytes.readUIntBE(at + 5, 3);
  const end = at + HEAD + bodyLength;
  if (end > bytes.length || bytes.readUInt32BE(at + 8) !== checksum(bytes, at, end)) return undefined;
  const body = bytes.subarray(at + HEAD, end);
  if (kind === MESSAGE || kind === MESSAGE_WITH_PROPERTIES) return readMessage(kind, body, at, HEAD + bodyLength);
  if (kind === SETTLED && bodyLength % SEQUENCE === 0) {
    const sequences = Array.from({ length: bodyLength / SEQUENCE }, (_, index) => body.readUIntBE(index * SEQUENCE, 6));
    return { kind: SETTLED, sequences };
  }
  return undefined;
}

/** What a segment held, and what of it could not be read. */
export interface SegmentContents {
  readonly records: readonly JournalRecord[];
  /** Stretches of bytes between whole records that are no records. */
  readonly damaged: number;
  /** The last bytes are no whole record: the write that a power cut interrupted. */
  readonly isTorn: boolean;
}

/** Reads on behind what is damaged, and never throws. */
export function readSegment(mark: number, bytes: Buffer): SegmentContents {
  const records: JournalRecord[] = [];
  const markBytes = Buffer.alloc(4);
  markBytes.writeUInt32BE(mark);
  let damaged = 0;
  let at = 0;
  while (at < bytes.length) {
    const record = decodeRecord(mark, bytes, at);
    if (record !== undefined) {
      records.push(record);
      at += record.kind === MESSAGE ? record.length : HEAD + record.sequences.length * SEQUENCE;
      continue;
    }
    do at = bytes.indexOf(markBytes, at + 1);
    while (at >= 0 && decodeRecord(mark, bytes, at) === undefined);
    if (at < 0) return { records, damaged, isTorn: true };
    damaged += 1;
  }
  return { records, damaged, isTorn: false };
}

function readMessage(kind: number, body: Buffer, at: number, length: number): JournalRecord | undefined {
  if (body.length < MESSAGE_HEAD) return undefined;
  const topicEnd = MESSAGE_HEAD + body.readUInt16BE(18);
  if (topicEnd > body.length) return undefined;
  let properties: PacketProperties | undefined;
  let payloadAt = topicEnd;
  if (kind === MESSAGE_WITH_PROPERTIES) {
    try {
      const read = decodePropertyBytes(body.subarray(topicEnd));
      properties = read.properties;
      payloadAt += read.end;
    } catch {
      return undefined;
    }
  }
  const message: StoredMessage = {
    sequence: body.readUIntBE(0, 6),
    epoch: body.subarray(6, 12),
    queuedAt: body.readUIntBE(12, 6),
    topic: body.toString('utf8', MESSAGE_HEAD, topicEnd),
    payload: body.subarray(payloadAt),
    properties,
  };
  return { kind: MESSAGE, message, at, length };
}

function finishRecord(record: Buffer, mark: number, kind: number): Buffer {
  record.writeUInt32BE(mark, 0);
  record[4] = kind;
  record.writeUIntBE(record.length - HEAD, 5, 3);
  record.writeUInt32BE(checksum(record, 0, record.length), 8);
  return record;
}

/** CRC-32 of IEEE 802.3, over everything but the mark and itself. zlib has one from Node 20.15 on only. */
function checksum(record: Buffer, at: number, end: number): number {
  let crc = -1;
  for (let index = at + 4; index < at + 8; index += 1) crc = crcStep(crc, record[index] as number);
  for (let index = at + HEAD; index < end; index += 1) crc = crcStep(crc, record[index] as number);
  return ~crc >>> 0;
}

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

function crcStep(crc: number, byte: number): number {
  return (CRC_TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
}
