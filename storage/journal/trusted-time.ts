/**
 * The time that retention uses. A clock that leaps years ahead would expire everything at once; so a leap of more than a week is
 * ignored until messages were received for three days after it. Days are read from the names of segments.
 */

const DAY_MS = 86_400_000;
const LEAP_MS = 7 * DAY_MS;
const TRUSTED_AFTER_MS = 3 * DAY_MS;

export interface TrustedTime {
  readonly now: number;
  /** Milliseconds by which the clock is ahead; 0 when it is trusted. */
  readonly ahead: number;
}

/** `days`: those that segments began with, oldest first. */
export function trustedTime(days: readonly string[], now: number): TrustedTime {
  const newest = days.at(-1);
  if (newest === undefined) return { now, ahead: 0 };
  // Where the time that the clock shows now began: behind the latest leap.
  let began = now;
  for (const day of days.toReversed()) {
    const ended = Date.parse(day) + DAY_MS;
    if (began - ended > LEAP_MS) {
      if (now - began >= TRUSTED_AFTER_MS) return { now, ahead: 0 };
      const trusted = ended + (now - began);
      return { now: trusted, ahead: now - trusted };
    }
    began = Math.min(began, Date.parse(day));
  }
  return { now, ahead: 0 };
}
