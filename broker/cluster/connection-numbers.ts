/**
 * Numbers of connections, each greater than those before, over all nodes: the time, and more than every number that was seen. A session that
 * moves to another node brings the number of its last connection.
 */

export class ConnectionNumbers {
  readonly #now: () => number;
  #last = 0;

  /** `now`: milliseconds since the epoch, by the clock of the database. */
  constructor(now: () => number) {
    this.#now = now;
  }

  next(): number {
    this.#last = Math.max(this.#last + 1, Math.floor(this.#now()) * 1_000);
    return this.#last;
  }

  seen(number: number): void {
    this.#last = Math.max(this.#last, number);
  }
}
