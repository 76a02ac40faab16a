/**
 * The MQTT 5 properties of a stored message that stand before its payload: content type, and user properties in their order. Lengths
 * are Variable Byte Integers (MQTT 5, section 1.5.5) of UTF-8 bytes. The payload format indicator has no bytes here: `block.ts`.
 *
 *   length of the content type plus one, the content type; or 0 for none
 *   how many user properties; for each: length of name, length of value, name, value
 */

import type { UserProperty } from '@rollcall/protocol';
import type { JournalMessage } from './message.ts';

export interface StoredProperties {
  readonly contentType: string | null;
  readonly userProperties: readonly UserProperty[] | null;
}

type Sent = Pick<JournalMessage, 'contentType' | 'userProperties'>;

/** Largest result of `propertiesLength()` of a message that a journal takes. The packet decoder's bounds are smaller. */
export const MAX_PROPERTIES_BYTES = 65_536;

/** Bytes that the objects of one user property take in memory besides its texts. */
const USER_PROPERTY_OVERHEAD = 96;

const NONE: readonly UserProperty[] = [];

/** Bytes of a journal that content type and user properties take; 0 for none. */
export function propertiesLength({ contentType, userProperties = NONE }: Sent): number {
  if (contentType === undefined && userProperties.length === 0) return 0;
  let length = integerLength(userProperties.length);
  if (contentType === undefined) length += 1;
  else {
    const typeBytes = Buffer.byteLength(contentType);
    length += integerLength(typeBytes + 1) + typeBytes;
  }
  for (const [name, value] of userProperties) {
    const [nameBytes, valueBytes] = [Buffer.byteLength(name), Buffer.byteLength(value)];
    length += integerLength(nameBytes) + integerLength(valueBytes) + nameBytes + valueBytes;
  }
  return length;
}

/** What they take in memory: for bounds of queues and results. */
export function propertiesMemory(message: Sent): number {
  return propertiesLength(message) + (message.userProperties?.length ?? 0) * USER_PROPERTY_OVERHEAD;
}

/** Writes `propertiesLength()` bytes, which is not 0. Returns where they end. */
export function putProperties({ contentType, userProperties = NONE }: Sent, data: Buffer, start: number): number {
  let at = start;
  if (contentType === undefined) at = putInteger(0, data, at);
  else {
    at = putInteger(Buffer.byteLength(contentType) + 1, data, at);
    at += data.write(contentType, at);
  }
  at = putInteger(userProperties.length, data, at);
  for (const [name, value] of userProperties) {
    at = putInteger(Buffer.byteLength(name), data, at);
    at = putInteger(Buffer.byteLength(value), data, at);
    at += data.write(name, at);
    at += data.write(value, at);
  }
  return at;
}

/** `end`: where the payload begins. */
export function readProperties(data: Buffer, start: number): StoredProperties & { readonly end: number } {
  let at = start;
  const integer = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = data.readUInt8(at);
      at += 1;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const text = (length: number) => {
    at += length;
    return data.toString('utf8', at - length, at);
  };
  const type = integer();
  const contentType = type === 0 ? null : text(type - 1);
  const count = integer();
  if (count === 0) return { contentType, userProperties: null, end: at };
  const userProperties: UserProperty[] = [];
  for (let i = 0; i < count; i += 1) {
    const [nameBytes, valueBytes] = [integer(), integer()];
    userProperties.push([text(nameBytes), text(valueBytes)]);
  }
  return { contentType, userProperties, end: at };
}

function integerLength(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : 3;
}

function putInteger(value: number, data: Buffer, start: number): number {
  let at = start;
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) at = data.writeUInt8((rest & 0x7f) | 0x80, at);
  return data.writeUInt8(rest, at);
}
