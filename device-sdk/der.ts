/**
 * DER elements (X.690) as far as a device writes and reads them itself: single-byte tags and definite lengths. What an
 * element means is the caller's concern.
 */

export const BOOLEAN = 0x01;
export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const OBJECT_IDENTIFIER = 0x06;
export const UTF8_STRING = 0x0c;
export const SEQUENCE = 0x30;
export const SET = 0x31;

export interface Element {
  readonly tag: number;
  /** First byte of the content, and the first byte behind it. */
  readonly start: number;
  readonly end: number;
}

export function writeElement(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag, ...lengthOctets(content.length)]), content]);
}

export function sequence(...parts: readonly Buffer[]): Buffer {
  return writeElement(SEQUENCE, ...parts);
}

/** An object identifier, from its content octets in hexadecimal. */
export function oid(hex: string): Buffer {
  return writeElement(OBJECT_IDENTIFIER, Buffer.from(hex, 'hex'));
}

/** The element at `at`, if it lies wholly before `limit` and its length has three octets at most; undefined otherwise. */
export function readElement(der: Buffer, at: number, limit: number): Element | undefined {
  const tag = der[at];
  const first = der[at + 1];
  if (tag === undefined || first === undefined || at + 2 > limit || (tag & 0x1f) === 0x1f) return undefined;
  if (first < 0x80) return within(tag, at + 2, first, limit);
  const octets = first & 0x7f;
  if (octets === 0 || octets > 3 || at + 2 + octets > limit) return undefined;
  const length = der.readUIntBE(at + 2, octets);
  return within(tag, at + 2 + octets, length, limit);
}

/** The elements that fill a range of bytes without a gap; undefined when they don't. */
export function readElements(der: Buffer, start: number, end: number): readonly Element[] | undefined {
  const found: Element[] = [];
  for (let at = start; at < end; ) {
    const element = readElement(der, at, end);
    if (element === undefined) return undefined;
    found.push(element);
    at = element.end;
  }
  return found;
}

function within(tag: number, start: number, length: number, limit: number): Element | undefined {
  return start + length <= limit ? { tag, start, end: start + length } : undefined;
}

/** Definite lengths in the shortest form (X.690, section 10.1). */
function lengthOctets(length: number): readonly number[] {
  if (length < 0x80) return [length];
  if (length < 0x100) return [0x81, length];
  return [0x82, length >> 8, length & 0xff];
}
