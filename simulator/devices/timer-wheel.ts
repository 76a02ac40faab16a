/**
 * Timers of thousands of devices with one timer of Node. Times are rounded up to slots of a few milliseconds, so that a late
 * slot is the simulator's own delay and nothing else.
 */

import { setTimeout as startTimer } from 'node:timers';

const SLOT_MS = 5;

/** Milliseconds since 1970 with a fraction, the same in every thread of this machine. */
export function preciseNow(): number {
  return performance.timeOrigin + performance.now();
}

export class TimerWheel {
  readonly #slots = new Map<number, (() => void)[]>();
  readonly #late: (milliseconds: number) => void;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;
  #slot: number;
  #isClosed = false;

  /** `late` is called at each slot with its delay. `now`: milliseconds since 1970 with a fraction. */
  constructor(late: (milliseconds: number) => void, now: () => number = preciseNow) {
    this.#late = late;
    this.#now = now;
    this.#slot = Math.floor(now() / SLOT_MS);
    this.#waitForNext();
  }

  /** Schedules `run` and returns the time of its slot. A timer can't be cancelled: `run` checks whether it still applies. */
  at(time: number, run: () => void): number {
    const slot = Math.max(this.#slot + 1, Math.ceil(time / SLOT_MS));
    const entries = this.#slots.get(slot);
    if (entries === undefined) this.#slots.set(slot, [run]);
    else entries.push(run);
    return slot * SLOT_MS;
  }

  now(): number {
    return this.#now();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#slots.clear();
  }

  #waitForNext(): void {
    const wait = (this.#slot + 1) * SLOT_MS - this.#now();
    this.#timer = startTimer(() => this.#tick(), Math.max(0, Math.ceil(wait)));
  }

  #tick(): void {
    const current = Math.floor(this.#now() / SLOT_MS);
    while (this.#slot < current && !this.#isClosed) {
      this.#slot += 1;
      const entries = this.#slots.get(this.#slot);
      if (entries === undefined) continue;
      this.#slots.delete(this.#slot);
      this.#late(this.#now() - this.#slot * SLOT_MS);
      for (const run of entries) run();
    }
    if (!this.#isClosed) this.#waitForNext();
  }
}
