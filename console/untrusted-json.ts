/** JSON from outside: its depth limit, and whether a payload can be shown as a JSON value without loss. */

/** Whether brackets nest deeper than `most`. Does not parse, so that deep nesting cannot exhaust the stack. */
export function exceedsDepth(text: string, most: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case 0x22: // a string: up to the next quote that is not escaped
        for (at += 1; at < text.length && text.charCodeAt(at) !== 0x22; at += 1) {
          if (text.charCodeAt(at) === 0x5c) at += 1;
        }
        break;
      case 0x5b: // [
      case 0x7b: // {
        depth += 1;
        if (depth > most) return true;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth -= 1;
        break;
    }
  }
  return false;
}

const MAX_PAYLOAD_DEPTH = 64;
const MAY_LOSE_DIGITS = /\d{16}|\d[eE]/;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A payload in the first of three forms that loses nothing: JSON value, text, base64. */
export type PayloadView = { readonly payload: unknown } | { readonly text: string } | { readonly base64: string };

export function viewPayload(bytes: Uint8Array): PayloadView {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return { base64: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64') };
  }
  if (exceedsDepth(text, MAX_PAYLOAD_DEPTH)) return { text };
  try {
    return { payload: MAY_LOSE_DIGITS.test(text) ? JSON.parse(text, refuseInexact) : JSON.parse(text) };
  } catch {
    return { text };
  }
}

/** Rejects inexact numbers: 12345678901234567890 would be shown as 12345678901234567000, and 1e999 as null. */
function refuseInexact(_key: string, value: unknown): unknown {
  if (typeof value !== 'number') return value;
  if (Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))) return value;
  throw new RangeError('expected a whole number of at most 53 bits');
}
