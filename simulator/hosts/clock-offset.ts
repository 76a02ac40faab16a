/**
 * By how much the clock of another host is ahead of ours, from requests and answers, as NTP does it (RFC 5905, section 8):
 * an answer was written some time between request and receipt, so that the middle is wrong by half of that time at most.
 * The shortest exchange counts. It changes no clock.
 */

export interface ClockSample {
  /** When we asked and when the answer came, on our clock; milliseconds. */
  readonly sent: number;
  readonly received: number;
  /** When it was answered, on the clock there. */
  readonly there: number;
}

export interface ClockReading {
  readonly offset: number;
  /** Milliseconds, at most. */
  readonly error: number;
}

export class ClockOffset {
  #fixed: ClockReading | undefined;
  #best: ClockReading | undefined;

  add({ sent, received, there }: ClockSample): void {
    const error = Math.max(0, received - sent) / 2;
    if (this.#best === undefined || error < this.#best.error) {
      this.#best = { offset: there - (sent + received) / 2, error };
    }
  }

  /** Makes the best reading so far the correction of the run; later samples only measure its drift. */
  fix(): ClockReading {
    this.#fixed = this.#best ?? { offset: 0, error: Number.POSITIVE_INFINITY };
    this.#best = undefined;
    return this.#fixed;
  }

  /** The correction, with an error that also holds for what the clocks have drifted since. */
  get reading(): ClockReading {
    const fixed = this.#fixed ?? this.#best ?? { offset: 0, error: Number.POSITIVE_INFINITY };
    const later = this.#fixed === undefined ? undefined : this.#best;
    if (later === undefined) return fixed;
    const apart = Math.abs(later.offset - fixed.offset);
    // Readings that agree within their errors show no drift.
    const error = apart <= fixed.error + later.error ? fixed.error : apart + later.error;
    return { offset: fixed.offset, error };
  }
}
