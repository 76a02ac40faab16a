/**
 * Writes properties of MQTT 5 into a buffer of the right size: each `...Bytes` function says how many bytes its counterpart writes, so
 * that a packet needs one allocation. A text or binary value of more than 65,535 bytes throws a RangeError.
 */

import type { UserProperty } from '@rollcall/protocol';

const FIELD_MAX = 65_535;

/** Bytes of a variable byte integer (MQTT 5, 1.5.5), which also Remaining Length is. */
export function variableBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : 4;
}

/** A property whose value is a text; 0 for undefined. */
export function textPropertyBytes(value: string | undefined): number {
  return value === undefined ? 0 : 3 + fieldBytes(Buffer.byteLength(value));
}

export function binaryPropertyBytes(value: Uint8Array | undefined): number {
  return value === undefined ? 0 : 3 + fieldBytes(value.length);
}

export function userPropertiesBytes(properties: readonly UserProperty[] | undefined): number {
  let bytes = 0;
  if (properties === undefined) return bytes;
  for (const [name, value] of properties) {
    bytes += 5 + fieldBytes(Buffer.byteLength(name)) + fieldBytes(Buffer.byteLength(value));
  }
  return bytes;
}

export function subscriptionIdentifiersBytes(identifiers: readonly number[] | undefined): number {
  let bytes = 0;
  if (identifiers === undefined) return bytes;
  for (const identifier of identifiers) bytes += 1 + variableBytes(identifier);
  return bytes;
}

/** The same count for the value of a field with a two-byte length. */
export function fieldBytes(bytes: number): number {
  if (bytes > FIELD_MAX) throw new RangeError(`expected a field of at most ${FIELD_MAX} bytes, found ${bytes}`);
  return bytes;
}

// Each function below writes at `at` and returns where the next value starts.

export function writeVariable(to: Buffer, at: number, value: number): number {
  let left = value;
  let position = at;
  while (left >= 0x80) {
    to[position] = (left & 0x7f) | 0x80;
    left >>>= 7;
    position += 1;
  }
  to[position] = left;
  return position + 1;
}

export function writeUint16(to: Buffer, at: number, value: number): number {
  to[at] = value >>> 8;
  to[at + 1] = value & 0xff;
  return at + 2;
}

/** A text with its length in front. */
export function writeText(to: Buffer, at: number, value: string): number {
  const bytes = to.write(value, at + 2);
  writeUint16(to, at, bytes);
  return at + 2 + bytes;
}

/** Writes nothing for undefined; so do the functions below. */
export function writeTextProperty(to: Buffer, at: number, identifier: number, value: string | undefined): number {
  if (value === undefined) return at;
  to[at] = identifier;
  return writeText(to, at + 1, value);
}

export function writeBinaryProperty(to: Buffer, at: number, identifier: number, value: Uint8Array | undefined): number {
  if (value === undefined) return at;
  to[at] = identifier;
  const start = writeUint16(to, at + 1, value.length);
  to.set(value, start);
  return start + value.length;
}

export function writeUint16Property(to: Buffer, at: number, identifier: number, value: number | undefined): number {
  if (value === undefined) return at;
  to[at] = identifier;
  return writeUint16(to, at + 1, value);
}

export function writeUint32Property(to: Buffer, at: number, identifier: number, value: number | undefined): number {
  if (value === undefined) return at;
  to[at] = identifier;
  return to.writeUInt32BE(value, at + 1);
}

export function writeByteProperty(to: Buffer, at: number, identifier: number, value: number | undefined): number {
  if (value === undefined) return at;
  to[at] = identifier;
  to[at + 1] = value;
  return at + 2;
}

export function writeVariableProperty(to: Buffer, at: number, identifier: number, value: number): number {
  to[at] = identifier;
  return writeVariable(to, at + 1, value);
}

export function writeUserProperties(
  to: Buffer,
  at: number,
  identifier: number,
  properties: readonly UserProperty[] | undefined,
): number {
  let position = at;
  if (properties === undefined) return position;
  for (const [name, value] of properties) {
    to[position] = identifier;
    position = writeText(to, writeText(to, position + 1, name), value);
  }
  return position;
}
