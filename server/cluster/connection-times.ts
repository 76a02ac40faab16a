/**
 * Numbers of connections that grow from one node to the next: the time by the database's clock, with room for a thousand connections per
 * millisecond. A device that changes nodes has a greater number there, as long as the clocks of the nodes are near the database's.
 */
export class ConnectionTimes {
  readonly #now: () => number;
  #last = 0;

  /** `now`: milliseconds since the epoch, by the database's clock as far as this node knows it. */
  constructor(now: () => number) {
    this.#now = now;
  }

  next(): number {
    this.#last = Math.max(this.#last + 1, Math.floor(this.#now()) * 1_000);
    return this.#last;
  }
}
