import type { RenewalNotice } from '@rollcall/protocol';
import { retryAfterDelay } from './backoff.ts';

export interface Validity {
  /** Milliseconds since 1970, as the certificate says. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Shortest wait between two tries, unless the life is so short that a twenty-fifth of it is shorter. Milliseconds. */
const PAUSE_MIN_MS = 30_000;
const OVERDUE_SPREAD_MS = 60_000;

/** Milliseconds since 1970. `random` gives numbers from 0 up to but not including 1. */
export function renewalTime({ notBefore, notAfter }: Validity, random: () => number): number {
  const life = notAfter - notBefore;
  return Math.ceil(notBefore + (life * 2) / 3 + (random() * life) / 20);
}

/**
 * Milliseconds since 1970, for a window that the server named: evenly over what is left of it, half a minute if nothing
 * is; and in any case a twenty-fifth of the life before the end.
 */
export function noticeTime(
  window: Pick<RenewalNotice, 'windowStart' | 'windowEnd'>,
  { notBefore, notAfter }: Validity,
  now: number,
  random: () => number,
): number {
  const start = Math.max(now, Date.parse(window.windowStart));
  const end = Math.max(Date.parse(window.windowEnd), start + PAUSE_MIN_MS);
  const last = Math.max(now, notAfter - (notAfter - notBefore) / 25);
  return Math.min(Math.ceil(start + random() * (end - start)), Math.ceil(last));
}

/**
 * Milliseconds to wait for a renewal whose time passed while the device was off: it may be one of a whole site that got
 * its power back. A tenth of what is left, a minute if the certificate ended.
 */
export function overdueDelay({ notBefore, notAfter }: Validity, now: number, random: () => number): number {
  const spread = Math.min((notAfter - notBefore) / 20, Math.max((notAfter - now) / 10, OVERDUE_SPREAD_MS));
  return Math.floor(random() * spread);
}

/** Milliseconds until the next try. `retryAfter` is what the server asked for, in seconds: it is never undercut. */
export function renewalRetryDelay(
  { notBefore, notAfter }: Validity,
  retryAfter: number | undefined,
  random: () => number,
): number {
  const share = (notAfter - notBefore) / 25;
  const wait = Math.max(Math.min(PAUSE_MIN_MS, share), random() * share);
  return Math.ceil(Math.max(wait, retryAfter === undefined ? 0 : retryAfterDelay(retryAfter, random)));
}
