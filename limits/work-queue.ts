/**
 * Lets costly work in first come, first served, one piece a turn of the event loop: whatever else is ready runs between two
 * of them, so that many who ask at once make each other wait and nobody else. Does not know what the work is.
 */

export interface WorkQueueOptions {
  /** How many may wait; 0: no limit. */
  readonly waiting: number;
  /** Calls back in the next turn of the event loop; `setImmediate` unless said otherwise. */
  readonly nextTurn?: (run: () => void) => void;
}

interface Waiter {
  readonly isGone: () => boolean;
  readonly enter: (entry: 'in' | 'gone') => void;
}

export class WorkQueue {
  readonly #most: number;
  readonly #nextTurn: (run: () => void) => void;
  #queue: Waiter[] = [];
  /** Of the queue, those that have been let in. */
  #head = 0;
  #isTaken = false;

  constructor({ waiting, nextTurn = setImmediate }: WorkQueueOptions) {
    this.#most = waiting || Number.POSITIVE_INFINITY;
    this.#nextTurn = nextTurn;
  }

  get waiting(): number {
    return this.#queue.length - this.#head;
  }

  /**
   * Resolves with `in` when it is one's turn, with `gone` when one has gone away meanwhile: then nothing is to be done.
   * `full` at once when so many wait already.
   */
  enter(isGone: () => boolean): Promise<'in' | 'gone'> | 'in' | 'full' {
    if (!this.#isTaken) {
      this.#isTaken = true;
      this.#nextTurn(this.#advance);
      return 'in';
    }
    if (this.waiting >= this.#most) return 'full';
    return new Promise((enter) => this.#queue.push({ isGone, enter }));
  }

  readonly #advance = (): void => {
    for (;;) {
      const next = this.#queue[this.#head];
      if (next === undefined) {
        this.#queue = [];
        this.#head = 0;
        this.#isTaken = false;
        return;
      }
      this.#head += 1;
      const isGone = next.isGone();
      next.enter(isGone ? 'gone' : 'in');
      if (!isGone) break;
    }
    if (this.#head > 1_000) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    this.#nextTurn(this.#advance);
  };
}
