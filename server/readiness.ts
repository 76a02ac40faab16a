/**
 * Whether this server takes devices: not while it starts, not while it stops, and not while it cannot store what they send. Queries that
 * are merely slow, and telemetry that waits its turn, change nothing.
 */

import { DEFAULT_DEVICE_SCOPE } from '@rollcall/protocol';
import type { Registry } from '../registry/index.ts';
import type { Telemetry } from '../telemetry/index.ts';

export interface ReadinessStores {
  readonly registry: Pick<Registry, 'findPolicy'>;
  readonly telemetry: Pick<Telemetry, 'counters'>;
  /** Whether other nodes know that this one is there, and it is not drained; always where it is alone. */
  readonly isHeard?: (() => boolean) | undefined;
}

export class Readiness {
  #state: 'starting' | 'serving' | 'draining' = 'starting';
  #stores: ReadinessStores | undefined;

  serving(stores: ReadinessStores): void {
    this.#stores = stores;
    if (this.#state === 'starting') this.#state = 'serving';
  }

  draining(): void {
    this.#state = 'draining';
  }

  /** Never rejects. */
  async isReady(): Promise<boolean> {
    if (this.#state !== 'serving' || this.#stores === undefined) return false;
    const { registry, telemetry, isHeard } = this.#stores;
    if (isHeard?.() === false) return false;
    const { isDiskLow, isHeld } = telemetry.counters();
    if (isDiskLow || isHeld) return false;
    return registry.findPolicy(DEFAULT_DEVICE_SCOPE).then(
      () => true,
      () => false,
    );
  }
}
