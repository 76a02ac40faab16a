/**
 * Who has subscribed, as the telemetry lane asks: live subscriptions are counted where the engine registers them, stored
 * ones by the session store. It may say yes where nobody wants a topic, which costs; never no where somebody does.
 */

import type { MQEmitter } from 'mqemitter';
import type { SubscriptionLookup } from '../mqtt/telemetry-fast-path.ts';
import { FilterTree } from '../session-store/filter-tree.ts';

/** What is asked of the session store. */
export interface StoredSubscriptionLookup {
  /** Changes whenever an answer of `wants` may. */
  readonly generation: number;
  /** Whether a session that outlives its connections subscribed to a topic with QoS 1 or 2. */
  hasStoredSubscription(topic: string): boolean;
}

export class SubscriptionIndex implements SubscriptionLookup {
  readonly #stored: StoredSubscriptionLookup;
  readonly #live = new FilterTree();
  /** By listener: the engine may take the same one back twice, when a client leaves while it unsubscribes. */
  readonly #filters = new Map<unknown, string>();

  constructor(stored: StoredSubscriptionLookup) {
    this.#stored = stored;
  }

  get generation(): number {
    return this.#live.generation + this.#stored.generation; // neither ever becomes less
  }

  hasSubscriber(topic: string): boolean {
    return this.#live.hasMatch(topic) || this.hasStoredSubscription(topic);
  }

  hasStoredSubscription(topic: string): boolean {
    return this.#stored.hasStoredSubscription(topic);
  }

  /** Listens to what the engine registers with its emitter. */
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
