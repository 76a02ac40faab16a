/** Which devices and groups are held, as the keeper told this node. The keeper decides. */

import type { HeldNames } from '../storage-shares.ts';

interface HeldListener {
  /** Results of `isHeld()` changed: for this device alone, or for any number of them. */
  changed(device: string | undefined): void;
}

export class NodeShares {
  readonly #listeners = new Set<HeldListener>();
  #devices: Set<string>;
  #groups: Set<string>;

  constructor({ devices, groups }: HeldNames) {
    this.#devices = new Set(devices);
    this.#groups = new Set(groups);
  }

  /** Whether the next message of this device has to wait. */
  isHeld(device: string, group: string | undefined): boolean {
    return this.#devices.has(device) || (group !== undefined && this.#groups.has(group));
  }

  /** Returns a function that removes the listener. */
  listen(listener: HeldListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  set({ devices, groups }: HeldNames): undefined {
    this.#devices = new Set(devices);
    this.#groups = new Set(groups);
    for (const listener of this.#listeners) listener.changed(undefined);
  }

  setDevice(device: string, isHeld: boolean): undefined {
    if (isHeld) this.#devices.add(device);
    else this.#devices.delete(device);
    for (const listener of this.#listeners) listener.changed(device);
  }
}
