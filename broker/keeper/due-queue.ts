/** Items in the order of the time at which they are due: a binary heap from which any item can be removed. */

export interface DueItem {
  /** By the clock of the caller; not changed while the item is in the queue. */
  readonly dueAt: number;
  /** Set by the queue: its place in the heap, -1 outside. */
  position: number;
}

export class DueQueue<T extends DueItem> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The item that is due first. */
  get first(): T | undefined {
    return this.#heap[0];
  }

  add(item: T): void {
    this.#heap.push(item);
    item.position = this.#heap.length - 1;
    this.#rise(item);
  }

  /** False: it is not in the queue. */
  remove(item: T): boolean {
    const { position } = item;
    if (position < 0) return false;
    const last = this.#heap.pop() as T;
    item.position = -1;
    if (last === item) return true;
    this.#place(last, position);
    this.#rise(last);
    this.#sink(last);
    return true;
  }

  #rise(item: T): void {
    while (item.position > 0) {
      const at = item.position;
      const parent = this.#heap[(at - 1) >> 1] as T;
      if (parent.dueAt <= item.dueAt) return;
      this.#place(item, parent.position);
      this.#place(parent, at);
    }
  }

  #sink(item: T): void {
    for (;;) {
      const at = item.position;
      const left = this.#heap[at * 2 + 1];
      const right = this.#heap[at * 2 + 2];
      const child = left === undefined || right === undefined || left.dueAt <= right.dueAt ? left : right;
      if (child === undefined || child.dueAt >= item.dueAt) return;
      this.#place(item, child.position);
      this.#place(child, at);
    }
  }

  #place(item: T, position: number): void {
    this.#heap[position] = item;
    item.position = position;
  }
}
