/** Which devices of a list are selected. */

import { type Signal, signal } from '@preact/signals';

export class Selection {
  readonly ids: Signal<ReadonlySet<string>> = signal(new Set<string>());
  /** Where a range that is selected with the shift key begins. */
  #anchor: string | undefined;

  set(ids: Iterable<string>): void {
    this.ids.value = new Set(ids);
  }

  clear(): void {
    this.set([]);
    this.#anchor = undefined;
  }

  /** `isRange`: everything between the device that was toggled last and this one, in this order. */
  toggle(id: string, isSelected: boolean, isRange: boolean, order: readonly string[]): void {
    const ids = new Set(this.ids.value);
    for (const one of isRange ? this.#between(id, order) : [id]) {
      if (isSelected) ids.add(one);
      else ids.delete(one);
    }
    this.#anchor = id;
    this.ids.value = ids;
  }

  #between(id: string, order: readonly string[]): readonly string[] {
    const from = this.#anchor === undefined ? -1 : order.indexOf(this.#anchor);
    const to = order.indexOf(id);
    return from < 0 ? [id] : order.slice(Math.min(from, to), Math.max(from, to) + 1);
  }
}
