/** Ids of rows, each greater than all that were seen. Nodes that have rows in the same tables use ids of different remainders. */

export class RowIds {
  readonly #step: number;
  readonly #remainder: number;
  #last = 0;

  /** Gives ids with this remainder of a division by `step`; by default every id. */
  constructor(step = 1, remainder = 0) {
    this.#step = step;
    this.#remainder = remainder;
  }

  next(): number {
    this.#last = (Math.floor(this.#last / this.#step) + 1) * this.#step + this.#remainder;
    return this.#last;
  }

  seen(id: number): void {
    if (id > this.#last) this.#last = id;
  }
}
