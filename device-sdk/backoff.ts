/**
 * Delay before a device retries. Pure functions without timer or clock. Full jitter: the delay is uniform between zero and
 * a bound that doubles, so that the devices of a restarted broker do not reconnect at one moment.
 */

export interface BackoffRules {
  /** Bound of the first delay, in milliseconds. */
  readonly base: number;
  /** Largest bound, in milliseconds. */
  readonly cap: number;
  /** Shortest delay after a refusal (TLS, certificate, identity): an early retry costs both sides a handshake. */
  readonly refusalFloor: number;
}

export const DEFAULT_BACKOFF: BackoffRules = { base: 1_000, cap: 120_000, refusalFloor: 30_000 };

export interface FailedAttempt {
  /** Failed attempts before this one since the last stable connection. */
  readonly earlier: number;
  /** `refused`: one side refused the other. `lost`: no response, or the connection broke. */
  readonly kind: 'lost' | 'refused';
}

/** Delay in milliseconds. `random` gives numbers from 0 up to but not including 1. */
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
 * Delay in milliseconds after HTTP Retry-After (`seconds`): never shorter, and up to half as long again, because every
 * device receives the same number.
 */
export function retryAfterDelay(seconds: number, random: () => number): number {
  const asked = seconds * 1_000;
  return Math.ceil(asked + random() * Math.max(asked / 2, 1_000));
}
