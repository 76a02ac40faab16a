/**
 * Tells the telemetry fast path whether a topic has subscribers. Live subscriptions are counted where aedes registers them, stored
 * ones by the session store. A wrong yes is possible and costs time; a wrong no is impossible.
 */

import type { MQEmitter } from 'mqemitter';
import type { SubscriptionLookup } from '../mqtt/telemetry-fast-path.ts';
import { FilterTree } from '../session-store/filter-tree.ts';

/** The part of the session store that the index asks. */
export interface StoredSubscriptionLookup {
  /** Changes whenever an answer of `hasStoredSubscription` may change. */
  readonly generation: number;
  /** Whether a persistent session has subscribed to a topic with QoS 1 or 2. */
  hasStoredSubscription(topic: string): boolean;
}

export class SubscriptionIndex implements SubscriptionLookup {
  readonly #stored: StoredSubscriptionLookup;
  readonly #live = new FilterTree();
  /** By listener: aedes may remove the same one twice, when a client disconnects while it unsubscribes. */
  readonly #filters = new Map<unknown, string>();

  constructor(stored: StoredSubscriptionLookup) {
    this.#stored = stored;
  }

  get generation(): number {
    return this.#live.generation + this.#stored.generation; // Neither ever decreases.
  }

  hasSubscriber(topic: string): boolean {
    return this.#live.hasMatch(topic) || this.hasStoredSubscription(topic);
  }

  hasStoredSubscription(topic: string): boolean {
    return this.#stored.hasStoredSubscription(topic);
  }

  /** Observes what aedes registers with its emitter. */
  watch(emitter: MQEmitter): void {
    const on = emitter.on.bind(emitter);
    const removeListener = emitter.removeListener.bind(emitter);
    emitter.on = (filter, listener, done) => {
      this.#add(filter, listener);
      return on(filter, listener, done);
    };
    emitter.removeListener = (filter, listener, done) => {
      this.#remove(listener);
      return removeListener(filter, listener, done);
    };
  }

  #add(filter: string, listener: unknown): void {
    this.#remove(listener);
    this.#filters.set(listener, filter);
    this.#live.addLive(filter);
  }

  #remove(listener: unknown): void {
    const filter = this.#filters.get(listener);
    if (filter === undefined) return;
    this.#filters.delete(listener);
    this.#live.removeLive(filter);
  }
}
