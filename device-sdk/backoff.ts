/**
 * How long a device waits before it tries again. Pure: no timer, no clock.
 * Full jitter: the wait is drawn evenly from zero to a bound that doubles, so a fleet that lost its broker at one moment
 * doesn't come back at one moment.
 */

export interface BackoffRules {
  /** Bound of the first wait, in milliseconds. */
  readonly base: number;
  /** Bound of every later wait, in milliseconds. */
  readonly cap: number;
  /** Least wait after a refusal (TLS, certificate, identity): asking again soon costs both sides a handshake for nothing. */
  readonly refusalFloor: number;
}

export const DEFAULT_BACKOFF: BackoffRules = { base: 1_000, cap: 120_000, refusalFloor: 30_000 };

export interface FailedAttempt {
  /** Tries that failed before this one, without a lasting connection in between. */
  readonly earlier: number;
  /** `refused`: the other side, or we, said no. `lost`: nobody answered, or the line broke. */
  readonly kind: 'lost' | 'refused';
}

/** Milliseconds to wait. `random` gives numbers from 0 up to but not including 1. */
export function backoffDelay(
  failed: FailedAttempt,
  random: () => number,
  rules: BackoffRules = DEFAULT_BACKOFF,
): number {
  const bound = Math.min(rules.cap, rules.base * 2 ** Math.min(failed.earlier, 30));
  if (failed.kind === 'lost') return Math.floor(random() * bound);
  return rules.refusalFloor + Math.floor(random() * Math.max(bound, rules.refusalFloor));
}

/**
 * Milliseconds to wait when the server named a time (HTTP Retry-After, `seconds`): never earlier, and up to half as much
 * later, because every other device was told the same number.
 */
export function retryAfterDelay(seconds: number, random: () => number): number {
  const asked = seconds * 1_000;
  return Math.ceil(asked + random() * Math.max(asked / 2, 1_000));
}
