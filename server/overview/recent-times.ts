/** Times of the last 15 to 30 seconds, for their percentiles. A recorded time costs less than a microsecond. */

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** Times are recorded in whole microseconds, from one on. */
const MICROSECONDS_PER_MS = 1_000;

export class RecentTimes {
  #before: RecordableHistogram = createHistogram();
  #now: RecordableHistogram = createHistogram();

  record(milliseconds: number): void {
    this.#now.record(Math.max(1, Math.round(milliseconds * MICROSECONDS_PER_MS)));
  }

  /** Once in 15 seconds: forgets what is older than the last call. */
  rotate(): void {
    [this.#before, this.#now] = [this.#now, this.#before];
    this.#now.reset();
  }

  /** In milliseconds; undefined where nothing was recorded. */
  percentile(percent: number): number | undefined {
    const all = createHistogram();
    for (const part of [this.#before, this.#now]) if (part.count > 0) all.add(part);
    return all.count === 0 ? undefined : all.percentile(percent) / MICROSECONDS_PER_MS;
  }
}
