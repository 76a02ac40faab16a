/** How late the event loop of this thread runs what is due: measured by a timer, ten times a second. */

import { RecentTimes } from './recent-times.ts';

const EVERY_MS = 100;

export class EventLoopLag {
  readonly times = new RecentTimes();
  readonly #timer: NodeJS.Timeout;
  #ranAt = performance.now();

  constructor() {
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.times.record(now - this.#ranAt - EVERY_MS);
      this.#ranAt = now;
    }, EVERY_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
