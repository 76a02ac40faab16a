/**
 * What the server tells devices beside certificates: the time, and when to renew. The shapes as both ends speak them.
 * The same renewal notice is the answer of {@link RENEWAL_INFO_PATH} and the retained message of `renewalNoticeTopic`.
 */

/** GET, anyone. Whoever pins the root may believe the answer: the TLS channel authenticates it. */
export const TIME_PATH = '/v1/time';

/** GET, with the current certificate over mutual TLS. The answer carries Retry-After: seconds until asking again makes sense. */
export const RENEWAL_INFO_PATH = '/v1/renewal-info';

export interface ServerTime {
  /** ISO 8601, UTC, with milliseconds. */
  readonly time: string;
  /** The same, milliseconds since the epoch. */
  readonly unixMs: number;
}

/** Why the window is where it is. A device renews within the window whatever the reason. */
const RENEWAL_REASONS = [
  'scheduled', // from the dates of the certificate alone
  'pulled_forward', // an operator wants it earlier
  'ca_rotation', // its issuing CA is on the way out
  'late', // the window is over: now
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

/** Undefined for text that is no notice. Members that are not known are ignored: a later server may say more. */
export function parseRenewalNotice(text: string): RenewalNotice | undefined {
  const { windowStart, windowEnd, reason, serverTime } = parseObject(text);
  if (!isTime(windowStart) || !isTime(windowEnd) || !isTime(serverTime)) return undefined;
  if (!(RENEWAL_REASONS as readonly unknown[]).includes(reason)) return undefined;
  if (Date.parse(windowStart) >= Date.parse(windowEnd)) return undefined;
  return { windowStart, windowEnd, reason: reason as RenewalReason, serverTime };
}

/** Undefined for text that is no answer of {@link TIME_PATH}. */
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
