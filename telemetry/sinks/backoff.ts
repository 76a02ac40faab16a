/** How long to wait before the next try: at random up to a bound that doubles, so that many who wait don't come at once. */

export interface BackoffLimits {
  /** Bound of the first wait, in ms. */
  readonly first: number;
  /** Largest bound, in ms. */
  readonly most: number;
}

/** A target may ask for more patience than the largest bound, but not for any amount of it. */
const LONGEST_ASKED_MS = 600_000;

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

  /** Milliseconds to wait now, at least what the target asked for. */
  next(asked = 0): number {
    const { first, most } = this.#limits;
    const bound = Math.min(most, first * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    // Never less than half of it: a target that is down is not to be knocked at all the time.
    return Math.max(bound / 2 + (this.#random() * bound) / 2, Math.min(asked, LONGEST_ASKED_MS));
  }
}
