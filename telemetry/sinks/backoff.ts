/** Exponential backoff with jitter: the wait before the next try, from half of a doubling bound to all of it. */

export interface BackoffLimits {
  /** Bound of the first wait, in ms. */
  readonly first: number;
  /** Largest bound, in ms. */
  readonly most: number;
}

/** A target may request (Retry-After) a longer wait than the largest bound, up to this. */
const MAX_REQUESTED_MS = 600_000;

export class Backoff {
  readonly #limits: BackoffLimits;
  readonly #random: () => number;
  #failures = 0;

  /** `random`: from 0 to below 1. */
  constructor(limits: BackoffLimits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  /** Milliseconds to wait now, at least what the target requested. */
  next(requested = 0): number {
    const { first, most } = this.#limits;
    const bound = Math.min(most, first * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    // Never less than half of the bound, so that a target that is down is not tried all the time.
    return Math.max(bound / 2 + (this.#random() * bound) / 2, Math.min(requested, MAX_REQUESTED_MS));
  }
}
