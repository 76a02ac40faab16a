/**
 * Messages in the form in which they cross from one thread to another: a few flat arrays for a whole batch, so that
 * thousands cost little more than one. The byte arrays are transferred, not copied.
 */

import type { DeviceId } from '../contract/identity.ts';
import type { StoredMessage, TelemetryMessage } from './telemetry.ts';

/** Numbers per message: position (0 when it has none yet), received at, qos, payload length, device time, sequence. */
export const STRIDE = 6;

export interface Packed {
  readonly count: number;
  /** `STRIDE` for each message; NaN stands for a number that was not sent. */
  readonly numbers: Float64Array<ArrayBuffer>;
  /** Device and stream of each message. */
  readonly names: readonly string[];
  /** Key and content type of each message; absent when no message has either. */
  readonly extras: readonly (string | undefined)[] | undefined;
  /** All payloads, one behind the other. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function pack(messages: readonly TelemetryMessage[]): Packed {
  const count = messages.length;
  let length = 0;
  for (let i = 0; i < count; i += 1) length += (messages[i] as TelemetryMessage).payload.byteLength;
  const numbers = new Float64Array(count * STRIDE);
  const names = new Array<string>(count * 2);
  const bytes = new Uint8Array(length);
  let extras: (string | undefined)[] | undefined;
  let end = 0;
  for (let i = 0; i < count; i += 1) {
    const message = messages[i] as TelemetryMessage;
    const { payload } = message;
    const at = i * STRIDE;
    numbers[at + 1] = message.receivedAt;
    numbers[at + 2] = message.qos;
    numbers[at + 3] = payload.byteLength;
    numbers[at + 4] = message.deviceTime ?? Number.NaN;
    numbers[at + 5] = message.deviceSequence ?? Number.NaN;
    names[i * 2] = message.device;
    names[i * 2 + 1] = message.stream;
    if (message.key !== undefined || message.contentType !== undefined) {
      extras ??= new Array<string | undefined>(count * 2).fill(undefined);
      extras[i * 2] = message.key;
      extras[i * 2 + 1] = message.contentType;
    }
    bytes.set(payload, end);
    end += payload.byteLength;
  }
  return { count, numbers, names, extras, bytes };
}

/** A stored message as SQLite gives it: the fastest form, and the first of `ROW_COLUMNS` is the first here. */
export type Row = readonly [
  position: number,
  device: string,
  stream: string,
  receivedAt: number,
  qos: number,
  payload: Buffer,
  deviceTime: number | null,
  deviceSequence: number | null,
  key: string | null,
  contentType: string | null,
];

/** Of messages `m`, sources `s` and devices `d`, in the order of `Row`. */
export const ROW_COLUMNS = `m.position, d.name, s.stream, m.received_at, m.qos, m.payload,
  m.device_time, m.device_sequence, m.message_key, m.content_type`;

export function packRows(rows: readonly Row[]): Packed {
  const count = rows.length;
  let length = 0;
  for (const row of rows) length += row[5].byteLength;
  const numbers = new Float64Array(count * STRIDE);
  const names = new Array<string>(count * 2);
  const bytes = new Uint8Array(length);
  let extras: (string | undefined)[] | undefined;
  let end = 0;
  for (let i = 0; i < count; i += 1) {
    const [position, device, stream, receivedAt, qos, payload, deviceTime, deviceSequence, key, contentType] = rows[
      i
    ] as Row;
    const at = i * STRIDE;
    numbers[at] = position;
    numbers[at + 1] = receivedAt;
    numbers[at + 2] = qos;
    numbers[at + 3] = payload.byteLength;
    numbers[at + 4] = deviceTime ?? Number.NaN;
    numbers[at + 5] = deviceSequence ?? Number.NaN;
    names[i * 2] = device;
    names[i * 2 + 1] = stream;
    if (key !== null || contentType !== null) {
      extras ??= new Array<string | undefined>(count * 2).fill(undefined);
      extras[i * 2] = key ?? undefined;
      extras[i * 2 + 1] = contentType ?? undefined;
    }
    bytes.set(payload, end);
    end += payload.byteLength;
  }
  return { count, numbers, names, extras, bytes };
}

/** What to hand over instead of copying. */
export function transferOf(packed: Packed): ArrayBuffer[] {
  return [packed.numbers.buffer, packed.bytes.buffer];
}

export function unpack(packed: Packed): StoredMessage[] {
  const { count, numbers, names, extras, bytes } = packed;
  const messages = new Array<StoredMessage>(count);
  let start = 0;
  for (let i = 0; i < count; i += 1) {
    const at = i * STRIDE;
    const end = start + (numbers[at + 3] as number);
    const message: { -readonly [name in keyof StoredMessage]: StoredMessage[name] } = {
      position: numbers[at] as number,
      device: names[i * 2] as DeviceId,
      stream: names[i * 2 + 1] as string,
      receivedAt: numbers[at + 1] as number,
      qos: numbers[at + 2] as 0 | 1 | 2,
      payload: Buffer.from(bytes.buffer, start, end - start),
    };
    const deviceTime = numbers[at + 4] as number;
    const deviceSequence = numbers[at + 5] as number;
    const key = extras?.[i * 2];
    const contentType = extras?.[i * 2 + 1];
    if (!Number.isNaN(deviceTime)) message.deviceTime = deviceTime;
    if (!Number.isNaN(deviceSequence)) message.deviceSequence = deviceSequence;
    if (key !== undefined) message.key = key;
    if (contentType !== undefined) message.contentType = contentType;
    messages[i] = message;
    start = end;
  }
  return messages;
}
