/** Limits the rate at which a backlog is sent, with a small burst. */

import type { Schedule } from './schedule.ts';

export interface ReplayRateLimiterOptions {
  /** Messages per second; 0: as fast as they go. */
  readonly replayRate: number;
  readonly now: () => number;
  readonly schedule: Schedule;
}

/** Milliseconds of replay that may go out at one time. */
const BURST_MS = 250;

export class ReplayRateLimiter {
  readonly #options: ReplayRateLimiterOptions;
  #nextAt = 0;
  #cancel: (() => void) | undefined;

  constructor(options: ReplayRateLimiterOptions) {
    this.#options = options;
  }

  /** Whether one more may go now. If not, `again` is called when it may. */
  allows(again: () => void): boolean {
    const { replayRate, now, schedule } = this.#options;
    if (replayRate === 0) return true;
    const interval = 1_000 / replayRate;
    const time = now();
    if (this.#nextAt > time + BURST_MS + interval) this.#nextAt = time; // the clock was set back
    if (this.#nextAt <= time) {
      this.#nextAt = Math.max(this.#nextAt, time - BURST_MS) + interval;
      return true;
    }
    this.#cancel ??= schedule(Math.ceil(this.#nextAt - time), () => {
      this.#cancel = undefined;
      again();
    });
    return false;
  }

  /** Cancels the pending call. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
