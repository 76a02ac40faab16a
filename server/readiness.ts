/**
 * Whether this server takes devices: not while it starts, not while it stops, and not while it cannot store what they send. Queries that
 * take less than some seconds, and telemetry that waits its turn, change nothing.
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

/** Supervisors and load balancers wait no longer for a probe, and the metrics have the answer too. */
const ANSWER_MS = 5_000;

export class Readiness {
  readonly #within: number;
  #state: 'starting' | 'serving' | 'draining' = 'starting';
  #stores: ReadinessStores | undefined;

  /** `within`: milliseconds for the registry's answer. */
  constructor(within = ANSWER_MS) {
    this.#within = within;
  }

  serving(stores: ReadinessStores): void {
    this.#stores = stores;
    if (this.#state === 'starting') this.#state = 'serving';
  }

  draining(): void {
    this.#state = 'draining';
  }

  /** Never rejects. False when the registry has not answered in time: its database answers nothing, and no node is heard without it. */
  async isReady(): Promise<boolean> {
    if (this.#state !== 'serving' || this.#stores === undefined) return false;
    const { registry, telemetry, isHeard } = this.#stores;
    if (isHeard?.() === false) return false;
    const { isDiskLow, isHeld } = telemetry.counters();
    if (isDiskLow || isHeld) return false;
    const late = Promise.withResolvers<false>();
    const timer = setTimeout(() => late.resolve(false), this.#within);
    const found = registry.findPolicy(DEFAULT_DEVICE_SCOPE).then(
      () => true,
      () => false,
    );
    return Promise.race([found, late.promise]).finally(() => clearTimeout(timer));
  }
}
