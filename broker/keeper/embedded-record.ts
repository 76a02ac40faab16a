/** The state of one session in the session store of this thread, on disk or, for a session that ends with its connection, in memory. */

import { isShared, Problem } from '@rollcall/protocol';
import type { Subject } from '../access/acl.ts';
import type { Message } from '../mqtt/message.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { IncomingMessage } from '../session-store/incoming-messages.ts';
import type { OutgoingQueue } from '../session-store/outgoing-queue.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import type { EmbeddedSessionsOptions } from './embedded-sessions.ts';
import type { IncomingRecord, OwnDelivery, ReleasedSession, SessionClaim, SessionRecord } from './sessions.ts';

export interface EmbeddedRecordState {
  readonly isStored: boolean;
  /** The session is the one that was claimed: no later one of its client id has replaced it. */
  isCurrent(): boolean;
  released(): void;
}

const DONE = Promise.resolve();

export class EmbeddedRecord implements SessionRecord, IncomingRecord {
  readonly #options: EmbeddedSessionsOptions;
  readonly #claim: SessionClaim;
  readonly #state: EmbeddedRecordState;

  constructor(options: EmbeddedSessionsOptions, claim: SessionClaim, state: EmbeddedRecordState) {
    this.#options = options;
    this.#claim = claim;
    this.#state = state;
  }

  get queue(): OutgoingQueue {
    return this.#options.store.queueOf(this.#claim.clientId, this.#state);
  }

  get incoming(): IncomingRecord {
    return this;
  }

  subscribe(granted: readonly StoredSubscription[]): Promise<void> | undefined {
    const { store, shares } = this.#options;
    const { clientId } = this.#claim;
    if (granted.some(({ filter }) => isShared(filter))) shares.join(clientId, granted);
    if (!this.#state.isStored) return undefined;
    if (!store.hasRoom()) return Promise.reject(new Problem('unavailable', { reason: 'no room for a subscription' }));
    store.putSubscriptions(clientId, granted);
    return store.durable();
  }

  unsubscribe(filters: readonly string[]): Promise<void> | undefined {
    const { store, shares } = this.#options;
    const { clientId } = this.#claim;
    shares.leave(clientId, filters);
    if (!this.#state.isStored) return undefined;
    store.removeSubscriptions(clientId, filters);
    return store.durable();
  }

  enqueue(message: Message, delivery: OwnDelivery): void {
    const { clientId, owner } = this.#claim;
    this.#options.store.enqueue([{ ...delivery, clientId, owner, isConnected: true }], message);
  }

  /** What is not stored has not to wait for the disk. */
  durable(): Promise<void> {
    return this.#state.isStored ? this.#options.store.durable() : DONE;
  }

  storeWill(will: WillMessage, subject: Subject): Promise<void> {
    const { clientId, owner } = this.#claim;
    return this.#options.wills.put(clientId, will, { owner, subject });
  }

  async release({ sessionExpiryInterval, publishesWill }: ReleasedSession): Promise<void> {
    const { store, shares, redelivery, wills, persistentSessions } = this.#options;
    const { clientId } = this.#claim;
    const { isStored, released } = this.#state;
    released();
    if (!isStored || sessionExpiryInterval === 0) shares.removeClient(clientId);
    redelivery.left(clientId);
    wills.connectionEnded(clientId, { publishes: publishesWill, sessionExpiryInterval });
    if (isStored) await persistentSessions.release(clientId, sessionExpiryInterval);
    else store.removeSession(clientId);
  }

  // Unreleased QoS 2 messages.

  get size(): number {
    return this.#options.store.incomingCount(this.#claim.clientId);
  }

  get(packetId: number): IncomingMessage | undefined {
    return this.#state.isCurrent() ? this.#options.store.incoming(this.#claim.clientId, packetId) : undefined;
  }

  put(packetId: number, key: string | undefined): void {
    if (this.#state.isCurrent()) this.#options.store.putIncoming(this.#claim.clientId, packetId, key, this.#state);
  }

  remove(packetId: number): boolean {
    return this.#state.isCurrent() && this.#options.store.removeIncoming(this.#claim.clientId, packetId);
  }
}
