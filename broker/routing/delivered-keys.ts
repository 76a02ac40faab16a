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

/** Devices whose keys are known apart from the others, and keys of each. */
const MOST_DEVICES = 20_000;
const KEYS_PER_DEVICE = 100;

/** Also tells the last keys of one device, for the node that it connects to next. */
export class DeliveredKeysByDevice extends DeliveredKeys {
  readonly #byDevice = new Map<string, string[]>();

  override add(name: string): void {
    super.add(name);
    const device = name.slice(0, name.indexOf('/'));
    const keys = this.#byDevice.get(device) ?? [];
    keys.push(name);
    if (keys.length > KEYS_PER_DEVICE) keys.shift();
    this.#byDevice.delete(device); // The device that was heard last is the last one.
    this.#byDevice.set(device, keys);
    if (this.#byDevice.size <= MOST_DEVICES) return;
    for (const oldest of this.#byDevice.keys()) {
      this.#byDevice.delete(oldest);
      return;
    }
  }

  of(device: string): readonly string[] {
    return this.#byDevice.get(device) ?? [];
  }
}
