/**
 * UTF-8 text as MQTT 3.1.1 allows it, checked on the bytes: well-formed (RFC 3629), no surrogate, no U+0000
 * [MQTT-1.5.3-1, MQTT-1.5.3-2]. Topic names and filters are checked in the same pass.
 */

export type TextFault =
  | 'utf8' // malformed, overlong, a surrogate, or beyond U+10FFFF
  | 'nul'
  | 'empty'
  | 'too_long'
  | 'too_deep'
  | 'hash' // a wildcard in a topic name, or in the wrong place of a filter
  | 'plus';

export interface TextLimits {
  readonly topicBytes: number;
  readonly topicLevels: number;
}

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;

export function textFault(bytes: Uint8Array, start: number, end: number): TextFault | undefined {
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte === 0) return 'nul';
    if (byte >= 0x80) {
      const length = sequenceLength(bytes, at, end);
      if (length === 0) return 'utf8';
      at += length - 1;
    }
  }
  return undefined;
}

/** A topic name: not empty, no wildcard, within the limits [MQTT-3.3.2-2, MQTT-4.7.3-1, MQTT-4.7.3-2]. */
export function topicNameFault(
  bytes: Uint8Array,
  start: number,
  end: number,
  limits: TextLimits,
): TextFault | undefined {
  if (start === end) return 'empty';
  if (end - start > limits.topicBytes) return 'too_long';
  let levels = 1;
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte === SLASH) levels += 1;
    else if (byte === PLUS) return 'plus';
    else if (byte === HASH) return 'hash';
    else if (byte === 0) return 'nul';
    else if (byte >= 0x80) {
      const length = sequenceLength(bytes, at, end);
      if (length === 0) return 'utf8';
      at += length - 1;
    }
  }
  return levels > limits.topicLevels ? 'too_deep' : undefined;
}

/** A topic filter: `#` alone in the last level, `+` alone in its level [MQTT-4.7.1-2, MQTT-4.7.1-3]. */
export function topicFilterFault(
  bytes: Uint8Array,
  start: number,
  end: number,
  limits: TextLimits,
): TextFault | undefined {
  if (start === end) return 'empty';
  if (end - start > limits.topicBytes) return 'too_long';
  let levels = 1;
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte === SLASH) levels += 1;
    else if (byte === PLUS || byte === HASH) {
      const opensLevel = at === start || bytes[at - 1] === SLASH;
      const closesLevel = at + 1 === end || (byte === PLUS && bytes[at + 1] === SLASH);
      if (!opensLevel || !closesLevel) return byte === PLUS ? 'plus' : 'hash';
    } else if (byte === 0) return 'nul';
    else if (byte >= 0x80) {
      const length = sequenceLength(bytes, at, end);
      if (length === 0) return 'utf8';
      at += length - 1;
    }
  }
  return levels > limits.topicLevels ? 'too_deep' : undefined;
}

/** Bytes of the well-formed multi-byte sequence at `at` (RFC 3629, section 4), or 0. */
function sequenceLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at] as number;
  if (lead < 0xc2 || lead > 0xf4) return 0; // a continuation, an overlong form of ASCII, or beyond U+10FFFF
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (at + length > end) return 0;
  const second = bytes[at + 1] as number;
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80; // below: overlong
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf; // above: surrogates, beyond U+10FFFF
  if (second < lowest || second > highest) return 0;
  for (let next = at + 2; next < at + length; next += 1) {
    if (((bytes[next] as number) & 0xc0) !== 0x80) return 0;
  }
  return length;
}
