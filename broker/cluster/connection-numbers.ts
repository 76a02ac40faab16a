/**
 * Numbers of connections, each greater than those before, over all nodes: a session that moves to another node brings the number of its
 * last connection.
 */

export class ConnectionNumbers {
  readonly #next: () => number;
  #last = 0;

  /** `next`: the numbers of this node alone. */
  constructor(next: () => number) {
    this.#next = next;
  }

  next(): number {
    this.#last = Math.max(this.#last + 1, this.#next());
    return this.#last;
  }

  seen(number: number): void {
    this.#last = Math.max(this.#last, number);
  }
}
