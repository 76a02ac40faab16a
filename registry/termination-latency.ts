/** How long it took until every broker had confirmed: a histogram for as long as the process lives. Times nothing itself. */

import type { Histogram } from './device-operation-types.ts';

/** Seconds. The promise is 100 ms; below and above it stand the bounds that tell by how much. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, Number.POSITIVE_INFINITY];

export class TerminationLatency {
  readonly #counts = BOUNDS.map(() => 0);
  #sum = 0;
  #count = 0;

  add(ms: number): void {
    const seconds = ms / 1000;
    const index = BOUNDS.findIndex((bound) => seconds <= bound);
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#sum += seconds;
    this.#count += 1;
  }

  snapshot(): Histogram {
    let below = 0;
    const buckets = BOUNDS.map((le, index) => {
      below += this.#counts[index] ?? 0;
      return { le, count: below };
    });
    return { buckets, sum: this.#sum, count: this.#count };
  }
}
