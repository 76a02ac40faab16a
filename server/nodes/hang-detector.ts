/** Finds that a thread hangs, by the questions that it does not answer in time. Of one thread after the other. */

/** Longer than what a thread of a machine that is overloaded needs for one turn of its event loop. */
const HANGS_AFTER_MS = 10_000;

/** A question that is given up so many times later than it should be was not waited for: this thread did not run either. */
const LATE = 3;

export class HangDetector {
  readonly #hangsAfter: number;
  /** When the first question was asked that the thread has not answered; undefined: it answers. */
  #silentSince: number | undefined;

  /** Milliseconds. */
  constructor(hangsAfter = HANGS_AFTER_MS) {
    this.#hangsAfter = hangsAfter;
  }

  /** The thread has answered, or another one begins. */
  reset(): void {
    this.#silentSince = undefined;
  }

  /**
   * A question was not answered within `limit`. All are milliseconds of one clock. Returns for how long the thread has been silent if it
   * hangs. A machine that was suspended proves nothing.
   */
  unanswered({ asked, now, limit }: Record<'asked' | 'now' | 'limit', number>): number | undefined {
    this.#silentSince = now - asked > LATE * limit ? undefined : (this.#silentSince ?? asked);
    if (this.#silentSince === undefined) return undefined;
    const silent = now - this.#silentSince;
    return silent < this.#hangsAfter ? undefined : silent;
  }
}
