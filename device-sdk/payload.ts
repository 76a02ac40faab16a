/** Turns what an application publishes into bytes. JSON for everything that isn't text or bytes already. */

import { DeviceError } from './device-error.ts';

/** Bytes of one payload, at most: with its topic it stays inside the broker's default packet limit of 256 KiB. */
export const PAYLOAD_MAX: number = 255 * 1024;

/** Text goes out as UTF-8, bytes as they are, everything else as JSON. */
export type Payload = string | Uint8Array | number | boolean | null | readonly unknown[] | object;

/** Throws a DeviceError `request_invalid` for what has no JSON form, and `body_too_large` over {@link PAYLOAD_MAX}. */
export function encodePayload(payload: Payload): Buffer {
  const bytes = bytesOf(payload);
  if (bytes.length > PAYLOAD_MAX) {
    throw new DeviceError('body_too_large', {
      reason: `expected a payload of at most ${PAYLOAD_MAX} bytes, found ${bytes.length}`,
    });
  }
  return bytes;
}

function bytesOf(payload: Payload): Buffer {
  if (typeof payload === 'string') return Buffer.from(payload, 'utf8');
  if (payload instanceof Uint8Array) return Buffer.from(payload); // a copy: it may wait, and the caller may write on
  return Buffer.from(jsonOf(payload), 'utf8');
}

function jsonOf(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value) as string | undefined;
  } catch {
    text = undefined; // a cycle or a BigInt; the error's own words could quote the payload
  }
  if (text === undefined) {
    throw new DeviceError('request_invalid', { reason: 'expected text, bytes, or a value with a JSON form' });
  }
  return text;
}
