import type { Extras } from './block.ts';
import type { StoredJournalMessage } from './message.ts';
import { propertiesMemory } from './message-properties.ts';
import { visibleKey } from './server-keys.ts';

/** Numbers per message: position, received at, qos, payload length, device time, sequence, number of its names. */
const STRIDE = 7;

export interface PackedRows {
  readonly count: number;
  /** `STRIDE` for each message; NaN stands for a number that was not sent. */
  readonly numbers: Float64Array<ArrayBuffer>;
  /** Device, stream, device, stream, … of those that the messages are from. */
  readonly names: readonly string[];
  /** Key and content type of each message; absent when no message has either. */
  readonly extras: readonly (string | undefined)[] | undefined;
  /** Of MQTT 5, of each message; absent when no message has any. */
  readonly properties: readonly (PackedProperties | undefined)[] | undefined;
  /** All payloads, one behind the other. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

type PackedProperties = Pick<StoredJournalMessage, 'payloadFormatIndicator' | 'userProperties'>;

/** Where messages come from. */
export interface SourceNames {
  readonly device: string;
  readonly stream: string;
}

/** A message as it was read. Those of one source share the object that names it. */
export interface Row extends Extras {
  readonly position: number;
  readonly source: SourceNames;
  readonly receivedAt: number;
  readonly qos: number;
  readonly payload: Buffer;
}

/** What it counts for in the bound of a result: payload and properties. */
export function memoryOf({ payload, contentType, userProperties }: Row): number {
  if (contentType === null && userProperties === null) return payload.byteLength;
  const properties = { contentType: contentType ?? undefined, userProperties: userProperties ?? undefined };
  return payload.byteLength + propertiesMemory(properties);
}

export function packRows(rows: readonly Row[]): PackedRows {
  const count = rows.length;
  let length = 0;
  for (const row of rows) length += row.payload.byteLength;
  const numbers = new Float64Array(count * STRIDE);
  const names: string[] = [];
  const numberOf = new Map<SourceNames, number>();
  const bytes = new Uint8Array(length);
  let extras: (string | undefined)[] | undefined;
  let properties: (PackedProperties | undefined)[] | undefined;
  let end = 0;
  for (let i = 0; i < count; i += 1) {
    const { position, source, receivedAt, qos, payload, deviceTime, deviceSequence, contentType } = rows[i] as Row;
    const key = visibleKey(rows[i]?.key ?? undefined);
    let name = numberOf.get(source);
    if (name === undefined) {
      name = names.push(source.device, source.stream) - 2;
      numberOf.set(source, name);
    }
    const at = i * STRIDE;
    numbers[at] = position;
    numbers[at + 1] = receivedAt;
    numbers[at + 2] = qos;
    numbers[at + 3] = payload.byteLength;
    numbers[at + 4] = deviceTime ?? Number.NaN;
    numbers[at + 5] = deviceSequence ?? Number.NaN;
    numbers[at + 6] = name;
    if (key !== undefined || contentType !== null) {
      extras ??= new Array<string | undefined>(count * 2).fill(undefined);
      extras[i * 2] = key;
      extras[i * 2 + 1] = contentType ?? undefined;
    }
    const packed = packProperties(rows[i] as Row);
    if (packed !== undefined) {
      properties ??= new Array<PackedProperties | undefined>(count).fill(undefined);
      properties[i] = packed;
    }
    bytes.set(payload, end);
    end += payload.byteLength;
  }
  return { count, numbers, names, extras, properties, bytes };
}

function packProperties({ payloadFormatIndicator, userProperties }: Row): PackedProperties | undefined {
  if (payloadFormatIndicator === null && userProperties === null) return undefined;
  return {
    ...(payloadFormatIndicator !== null && { payloadFormatIndicator }),
    ...(userProperties !== null && { userProperties }),
  };
}

/** What to hand over instead of copying. */
export function rowsTransferList(packed: PackedRows): ArrayBuffer[] {
  return [packed.numbers.buffer, packed.bytes.buffer];
}

/** The caller says what its journal was filled with: names are not checked again. */
export function unpackRows<Source extends string>(packed: PackedRows): StoredJournalMessage<Source>[] {
  type Message = StoredJournalMessage<Source>;
  const { count, numbers, names, extras, properties, bytes } = packed;
  const messages = new Array<Message>(count);
  let start = 0;
  for (let i = 0; i < count; i += 1) {
    const at = i * STRIDE;
    const end = start + (numbers[at + 3] as number);
    const name = numbers[at + 6] as number;
    const message: { -readonly [name in keyof Message]: Message[name] } = {
      position: numbers[at] as number,
      device: names[name] as Source,
      stream: names[name + 1] as string,
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
    messages[i] = properties?.[i] === undefined ? message : { ...message, ...properties[i] };
    start = end;
  }
  return messages;
}
