/**
 * How long an event loop was delayed, and the CPU time of its own thread meanwhile: on a shared machine, a
 * late loop has mostly waited for a core.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Milliseconds. */
export interface LoopDelay {
  /** What a timer was late, whatever the reason. */
  readonly p99: number;
  readonly max: number;
  /** The most CPU time of the loop's own thread between two turns. Other threads that it waited for are not in it. */
  readonly ownMax: number;
}

/** A timer of so many milliseconds is watched; what it is late is the delay. */
const RESOLUTION_MS = 1;

export class LoopWatch {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #timer: NodeJS.Timeout;
  #usedBefore = ownMs();
  #ownMax = 0;

  constructor() {
    this.#delay.enable();
    this.#timer = setInterval(() => this.#turn(), RESOLUTION_MS).unref();
  }

  stop(): LoopDelay {
    this.#turn();
    this.#delay.disable();
    clearInterval(this.#timer);
    const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
    return { p99: late(this.#delay.percentile(99)), max: late(this.#delay.max), ownMax: this.#ownMax };
  }

  #turn(): void {
    const used = ownMs();
    this.#ownMax = Math.max(this.#ownMax, used - this.#usedBefore);
    this.#usedBefore = used;
  }
}

function ownMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
