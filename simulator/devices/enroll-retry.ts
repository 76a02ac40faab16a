import { backoffDelay, retryAfterDelay } from '@rollcall/device-sdk/building-blocks';

const ENROLL_BACKOFF = { base: 1_000, cap: 30_000, refusalFloor: 5_000 };

export interface FailedEnrollment {
  /** Seconds that the server asked to wait; undefined when it did not answer or named no time. */
  readonly retryAfter: number | undefined;
  /** Requests of this device that failed before. */
  readonly earlier: number;
}

/** Milliseconds until a device asks for its first certificate again. */
export function enrollRetryDelay({ retryAfter, earlier }: FailedEnrollment, random: () => number): number {
  if (retryAfter !== undefined) return retryAfterDelay(retryAfter, random);
  return backoffDelay({ kind: 'lost', earlier }, random, ENROLL_BACKOFF);
}
