/**
 * Limits how many devices of a shard ask for a certificate at one time, and slows them down to the rate that the server admits:
 * after a request that the server refuses for its rate, none begins for as long as it asked, and the next ones are spaced.
 * The space grows with each such refusal and shrinks with each certificate. Without refusals it is zero.
 */

import type { TimerWheel } from './timer-wheel.ts';

export interface EnrollmentPacerOptions {
  /** Requests at one time. */
  readonly atOnce: number;
  /** Milliseconds since 1970, with a fraction. */
  readonly now: () => number;
  readonly timers: Pick<TimerWheel, 'at'>;
}

/** A server that closes connections without a response names no time. */
const UNNAMED_WAIT_MS = 1_000;
/** A longer Retry-After postpones the device that got it, not all others. */
const WAIT_MAX_MS = 10_000;
const GROWTH = 1.5;
const SHRINKAGE = 0.97;
const SPACE_MIN_MS = 5;
const SPACE_MAX_MS = 10_000;

export class EnrollmentPacer {
  readonly #options: EnrollmentPacerOptions;
  readonly #waiting: (() => void)[] = [];
  #inProgress = 0;
  /** Milliseconds between two requests; 0 until the server refuses one for its rate. */
  #space = 0;
  #nextAt = 0;
  /** End of the wait that the server asked for. */
  #resumesAt = 0;
  #isScheduled = false;
  /** Since the last refusal: when the first request began, and how many got a certificate. */
  #since: number | undefined;
  #succeeded = 0;

  constructor(options: EnrollmentPacerOptions) {
    this.#options = options;
  }

  /** Runs `act` when it is its turn, first come first served. */
  async turn<T>(act: () => Promise<T>): Promise<T> {
    const begins = Promise.withResolvers<void>();
    this.#waiting.push(begins.resolve);
    this.#begin();
    await begins.promise;
    try {
      return await act();
    } finally {
      this.#inProgress -= 1;
      this.#begin();
    }
  }

  /** A request got its certificate. */
  succeeded(): void {
    this.#succeeded += 1;
    if (this.#space > 0) this.#space = Math.max(SPACE_MIN_MS, this.#space * SHRINKAGE);
  }

  /** The server refused a request for its rate. `retryAfter`: seconds, undefined where it named none. */
  throttled(retryAfter: number | undefined): void {
    const now = this.#options.now();
    if (now < this.#resumesAt) return; // the request began before the refusal that is obeyed already
    const observed = this.#succeeded === 0 ? 0 : (now - (this.#since ?? now)) / this.#succeeded;
    this.#space = Math.min(
      SPACE_MAX_MS,
      Math.max(SPACE_MIN_MS, this.#space * GROWTH, this.#space === 0 ? observed : 0),
    );
    this.#resumesAt = now + Math.min(WAIT_MAX_MS, retryAfter === undefined ? UNNAMED_WAIT_MS : retryAfter * 1_000);
    this.#nextAt = this.#resumesAt;
    this.#since = this.#resumesAt;
    this.#succeeded = 0;
  }

  #begin(): void {
    const { atOnce, now, timers } = this.#options;
    while (this.#waiting.length > 0 && this.#inProgress < atOnce && !this.#isScheduled) {
      const time = now();
      if (time < this.#nextAt) {
        this.#isScheduled = true;
        timers.at(this.#nextAt, () => {
          this.#isScheduled = false;
          this.#begin();
        });
        return;
      }
      this.#since ??= time;
      this.#inProgress += 1;
      this.#nextAt = time + this.#space;
      this.#waiting.shift()?.();
    }
  }
}
