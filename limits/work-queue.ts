/**
 * Admits costly work in order of arrival, one piece per turn of the event loop. Other work that is ready runs
 * between two pieces, so that many simultaneous requests delay only each other.
 */

export interface WorkQueueOptions {
  /** How many may wait; 0: no limit. */
  readonly waiting: number;
  /** Calls back in the next turn of the event loop; `setImmediate` unless given. */
  readonly nextTurn?: (run: () => void) => void;
}

interface Waiter {
  readonly isCancelled: () => boolean;
  readonly settle: (result: 'admitted' | 'cancelled') => void;
}

export class WorkQueue {
  readonly #maxWaiting: number;
  readonly #nextTurn: (run: () => void) => void;
  #queue: Waiter[] = [];
  /** The index of the first waiter that is not settled. */
  #head = 0;
  #isTurnTaken = false;

  constructor({ waiting, nextTurn = setImmediate }: WorkQueueOptions) {
    this.#maxWaiting = waiting || Number.POSITIVE_INFINITY;
    this.#nextTurn = nextTurn;
  }

  get waiting(): number {
    return this.#queue.length - this.#head;
  }

  /**
   * `admitted` when the work may run now; `cancelled` when `isCancelled` is true after the wait; `full` at once when too
   * much is waiting already.
   */
  enter(isCancelled: () => boolean): Promise<'admitted' | 'cancelled'> | 'admitted' | 'full' {
    if (!this.#isTurnTaken) {
      this.#isTurnTaken = true;
      this.#nextTurn(this.#advance);
      return 'admitted';
    }
    if (this.waiting >= this.#maxWaiting) return 'full';
    return new Promise((settle) => this.#queue.push({ isCancelled, settle }));
  }

  readonly #advance = (): void => {
    for (;;) {
      const next = this.#queue[this.#head];
      if (next === undefined) {
        this.#queue = [];
        this.#head = 0;
        this.#isTurnTaken = false;
        return;
      }
      this.#head += 1;
      const isCancelled = next.isCancelled();
      next.settle(isCancelled ? 'cancelled' : 'admitted');
      if (!isCancelled) break;
    }
    if (this.#head > 1_000) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    this.#nextTurn(this.#advance);
  };
}
