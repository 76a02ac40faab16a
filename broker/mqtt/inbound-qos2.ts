/**
 * QoS 2 messages between their first PUBLISH and their PUBREL, by packet identifier, so that each is stored once [MQTT-4.3.3-2],
 * also across a restart. The session store and the journal cannot commit together. So the session store first records a key of the
 * message; the journal stores a key once; and a client that sends the message again after a crash completes what is missing.
 * Stores no payload.
 */

import { randomUUID } from 'node:crypto';
import { SERVER_KEY_PREFIX } from '../../storage/index.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { Session } from '../sessions/session.ts';

const NOTHING = Promise.resolve();

export class InboundQos2 {
  readonly #store: SessionStore;
  readonly #isCurrent: (session: Session) => boolean;

  /** `isCurrent`: the state of a session is the one that its connection claimed; no later connection has discarded it. */
  constructor(store: SessionStore, isCurrent: (session: Session) => boolean) {
    this.#store = store;
    this.#isCurrent = isCurrent;
  }

  /** Whether a client may have one more unreleased message: beyond `most` only packet identifiers that are in use already. */
  hasRoom({ facts: { clientId } }: Session, packetId: number, most: number): boolean {
    return this.#store.incomingCount(clientId) < most || this.#store.incoming(clientId, packetId) !== undefined;
  }

  /** Whether a packet identifier belongs to a message that is not released. */
  isInUse({ facts: { clientId } }: Session, packetId: number): boolean {
    return this.#store.incoming(clientId, packetId) !== undefined;
  }

  /** Whether this message was received and stored completely. It is on disk when {@link durable} resolves. */
  isReceived({ facts: { clientId } }: Session, packetId: number): boolean {
    const mark = this.#store.incoming(clientId, packetId);
    return mark !== undefined && mark.key === undefined;
  }

  /** Resolves when everything that was marked before is on disk. */
  durable({ isStored }: Session): Promise<void> {
    return isStored ? this.#store.durable() : NOTHING;
  }

  /**
   * Reserves the journal key of a message that was not {@link isReceived}. Resolves when the key is on disk. That of a session that ends
   * with its connection is in memory: its packet identifiers end with it.
   */
  async reserveKey(session: Session, packetId: number): Promise<string> {
    const { isStored, facts } = session;
    const isCurrent = this.#isCurrent(session);
    let key = isCurrent ? this.#store.incoming(facts.clientId, packetId)?.key : undefined;
    if (key === undefined) {
      key = SERVER_KEY_PREFIX + randomUUID();
      if (isCurrent) this.#store.putIncoming(facts.clientId, packetId, key, { isStored });
    }
    await this.durable(session);
    return key;
  }

  /** Marks a message as received, after the journal stored it. A repetition is recognized when {@link durable} resolves. */
  markReceived(session: Session, packetId: number): void {
    // In the next session the same identifier means another message.
    if (!this.#isCurrent(session)) return;
    const { isStored } = session;
    this.#store.putIncoming(session.facts.clientId, packetId, undefined, { isStored });
  }

  /** PUBREL: frees a packet identifier. False: it was not in use. */
  release(session: Session, packetId: number): boolean {
    return this.#isCurrent(session) && this.#store.removeIncoming(session.facts.clientId, packetId);
  }
}
