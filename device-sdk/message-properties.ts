/** The MQTT 5 properties that an application may give a message, checked before it is queued. */

import type { UserProperty } from '@rollcall/protocol';
import { DeviceError } from './device-error.ts';
import type { PacketProperties } from './mqtt-codec/index.ts';

/** Sent with MQTT 5 only; with a broker that knows 3.1.1, the message is sent without them. */
export interface MessageOptions {
  /** What the payload is, such as `application/json`. */
  readonly contentType?: string;
  /** Names and values, in this order; as an array of pairs a name may occur several times. At most 32. */
  readonly userProperties?: readonly UserProperty[] | Readonly<Record<string, string>>;
  /**
   * Seconds, counted from `publish`, after which nobody needs the message: it is dropped wherever it waits then, on the device with
   * `message_expired` and whatever the broker's version.
   */
  readonly messageExpiry?: number;
  /** 1: the payload is UTF-8, which the broker may check. */
  readonly payloadFormatIndicator?: 0 | 1;
}

/** What a server of Rollcall accepts by default. */
const USER_PROPERTIES_MAX = 32;
const BYTES_MAX = 8 * 1024;
const EXPIRY_MAX = 0xffff_ffff;

/** Undefined for none. Throws `request_invalid`. */
export function messageProperties(options: MessageOptions): PacketProperties | undefined {
  const { contentType, messageExpiry, payloadFormatIndicator } = options;
  const userProperties = pairsOf(options.userProperties);
  if (contentType === undefined && messageExpiry === undefined && payloadFormatIndicator === undefined) {
    if (userProperties.length === 0) return undefined;
  }
  if (messageExpiry !== undefined && !isWhole(messageExpiry, 1, EXPIRY_MAX)) {
    throw invalid(`expected a message expiry of 1 to ${EXPIRY_MAX} seconds`);
  }
  if (payloadFormatIndicator !== undefined && !isWhole(payloadFormatIndicator, 0, 1)) {
    throw invalid('expected a payload format indicator of 0 or 1');
  }
  if (userProperties.length > USER_PROPERTIES_MAX) {
    throw invalid(`expected at most ${USER_PROPERTIES_MAX} user properties`);
  }
  const texts = [...(contentType === undefined ? [] : [contentType]), ...userProperties.flat()];
  for (const text of texts) if (!isText(text)) throw invalid('expected text without U+0000 in the properties');
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes > BYTES_MAX) throw invalid(`expected properties of at most ${BYTES_MAX} bytes`);
  return {
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(messageExpiry !== undefined && { messageExpiryInterval: messageExpiry }),
    ...(contentType !== undefined && { contentType }),
    ...(userProperties.length > 0 && { userProperties }),
  };
}

function pairsOf(given: MessageOptions['userProperties'] = []): readonly UserProperty[] {
  if (!Array.isArray(given)) return Object.entries(given as Readonly<Record<string, string>>);
  for (const pair of given as readonly unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) throw invalid('expected user properties as pairs of name and value');
  }
  return given;
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && !value.includes('\0') && Buffer.from(value, 'utf8').toString('utf8') === value;
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

function invalid(reason: string): DeviceError {
  return new DeviceError('request_invalid', { reason });
}
