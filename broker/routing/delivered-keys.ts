/** Cache of the message keys that were delivered to subscribers, so that a repetition is not delivered again. */

import type { DeviceId } from '@rollcall/protocol';

/** The cache holds between one and two times as many keys. */
const KEYS_PER_GENERATION = 32_768;

export class DeliveredKeys {
  #newer = new Set<string>();
  #older = new Set<string>();

  /** The key of a message for {@link has} and {@link add}. */
  keyOf(device: DeviceId, key: string): string {
    return `${device}/${key}`;
  }

  has(name: string): boolean {
    return this.#newer.has(name) || this.#older.has(name);
  }

  add(name: string): void {
    if (this.#newer.size >= KEYS_PER_GENERATION) {
      this.#older = this.#newer;
      this.#newer = new Set();
    }
    this.#newer.add(name);
  }
}
