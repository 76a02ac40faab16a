/**
 * The persistence contract of aedes over the session store. Rollcall persists each message before it acknowledges it, and gives it to
 * aedes afterwards, so aedes finds nothing to queue; it reads what the store has.
 */

import { Readable } from 'node:stream';
import type { SessionStore } from '../session-store/session-store.ts';

const NOTHING = Promise.resolve();

export class AedesPersistence {
  readonly #store: SessionStore;

  constructor(store: SessionStore) {
    this.#store = store;
  }

  async setup(): Promise<void> {}

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter]);
  }

  createRetainedStreamCombi(filters: readonly string[]): Readable {
    return Readable.from(filters.flatMap((filter) => [...this.#store.retainedMatching(filter)]));
  }

  /** The message is retained already. */
  storeRetained(): Promise<void> {
    return NOTHING;
  }

  /** The message is queued already. */
  subscriptionsByTopic(): Promise<readonly never[]> {
    return Promise.resolve([]);
  }

  outgoingEnqueueCombi(): Promise<void> {
    return NOTHING;
  }

  /** Wills are published by `broker/keeper/wills.ts`. */
  streamWill(): Iterable<never> {
    return [];
  }

  destroy(): Promise<void> {
    return NOTHING;
  }
}
