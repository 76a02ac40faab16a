/**
 * The time that retention goes by. A clock that leaps years ahead would make everything old at once; so a leap of more than a
 * week counts for nothing until messages came for three days after it. Knows days only from the names of segments.
 */

const DAY_MS = 86_400_000;
const LEAP_MS = 7 * DAY_MS;
const BELIEVED_AFTER_MS = 3 * DAY_MS;

export interface TrustedTime {
  readonly now: number;
  /** How far the clock is ahead of what is believed, in ms; 0 when it is believed. */
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
      if (now - began >= BELIEVED_AFTER_MS) return { now, ahead: 0 };
      const believed = ended + (now - began);
      return { now: believed, ahead: now - believed };
    }
    began = Math.min(began, Date.parse(day));
  }
  return { now, ahead: 0 };
}
