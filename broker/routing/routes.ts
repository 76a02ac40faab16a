/**
 * Which topics have receivers that this node does not know by itself: sessions that are away, members of shared subscriptions, sessions of
 * other nodes. Asked for every message, so that answers are cached by generation.
 */

import type { ShareDirectory } from '../keeper/share-directory.ts';
import type { SessionStore } from '../session-store/session-store.ts';

export interface Routes {
  /** Changes whenever an answer may change; never decreases. */
  readonly generation: number;
  /** Receivers have to be found before the message is acknowledged: it is queued for some, or shared. */
  isQueued(topic: string): boolean;
  /** There may be a receiver other than a session that is connected to this node. */
  hasReceiver(topic: string): boolean;
}

/** The routes of a node whose sessions have their state in the same thread, and that is the only one. */
export class LocalRoutes implements Routes {
  readonly #store: Pick<SessionStore, 'filters'>;
  readonly #shares: Pick<ShareDirectory, 'generation' | 'hasMatch'>;

  constructor(store: Pick<SessionStore, 'filters'>, shares: Pick<ShareDirectory, 'generation' | 'hasMatch'>) {
    this.#store = store;
    this.#shares = shares;
  }

  get generation(): number {
    return this.#store.filters.generation + this.#shares.generation;
  }

  isQueued(topic: string): boolean {
    return this.#store.filters.hasMatch(topic) || this.#shares.hasMatch(topic);
  }

  hasReceiver(topic: string): boolean {
    return this.isQueued(topic);
  }
}
