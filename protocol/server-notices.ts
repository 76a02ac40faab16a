/**
 * Notices of the server to devices: the time, and when to renew. The same renewal notice is the response of {@link RENEWAL_INFO_PATH} and the retained message of `renewalNoticeTopic`.
 */

/** GET without authentication. A client that pins the root can trust the response: TLS authenticates it. */
export const TIME_PATH = '/v1/time';

/** GET, with the current certificate over mutual TLS. The response has Retry-After: seconds until the next request. */
export const RENEWAL_INFO_PATH = '/v1/renewal-info';

export interface ServerTime {
  /** ISO 8601, UTC, with milliseconds. */
  readonly time: string;
  /** The same, milliseconds since the epoch. */
  readonly unixMs: number;
}

/** The reason for the window. A device renews within the window for every reason. */
const RENEWAL_REASONS = [
  'scheduled', // from the validity of the certificate
  'pulled_forward', // an operator requested an earlier renewal
  'ca_rotation', // the issuing CA is being replaced
  'late', // the window has passed: renew now
] as const;
export type RenewalReason = (typeof RENEWAL_REASONS)[number];

/** When to renew (the idea of ACME Renewal Information, RFC 9773): at a random moment between start and end. Times are ISO 8601, UTC. */
export interface RenewalNotice {
  readonly windowStart: string;
  /** After `windowStart`. */
  readonly windowEnd: string;
  readonly reason: RenewalReason;
  readonly serverTime: string;
}

const UTC_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/;

/** Undefined for text that is no renewal notice. Unknown members are ignored: a later server may add some. */
export function parseRenewalNotice(text: string): RenewalNotice | undefined {
  const { windowStart, windowEnd, reason, serverTime } = parseObject(text);
  if (!isTime(windowStart) || !isTime(windowEnd) || !isTime(serverTime)) return undefined;
  if (!(RENEWAL_REASONS as readonly unknown[]).includes(reason)) return undefined;
  if (Date.parse(windowStart) >= Date.parse(windowEnd)) return undefined;
  return { windowStart, windowEnd, reason: reason as RenewalReason, serverTime };
}

/** Undefined for text that is no response of {@link TIME_PATH}. */
export function parseServerTime(text: string): ServerTime | undefined {
  const { time, unixMs } = parseObject(text);
  if (!isTime(time) || unixMs !== Date.parse(time)) return undefined;
  return { time, unixMs };
}

function isTime(value: unknown): value is string {
  return typeof value === 'string' && UTC_TIME.test(value) && !Number.isNaN(Date.parse(value));
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
