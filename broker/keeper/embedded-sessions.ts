/** The state of all sessions in this thread, over the session store. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Message } from '../mqtt/message.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import { messageBytes } from '../session-store/stored-message.ts';
import { EmbeddedRecord } from './embedded-record.ts';
import type { MessagePersistence } from './message-persistence.ts';
import type { PersistentSessions } from './persistent-sessions.ts';
import type { ClaimedSession, EnqueueOptions, RetainedRoom, SessionClaim, Sessions } from './sessions.ts';
import type { ShareDirectory } from './share-directory.ts';
import type { SharedRedelivery } from './shared-redelivery.ts';
import type { ShareChoice } from './shared-subscriptions.ts';
import type { Wills } from './wills.ts';

export interface EmbeddedSessionsOptions {
  readonly store: SessionStore;
  readonly persistentSessions: PersistentSessions;
  readonly persistence: MessagePersistence;
  readonly shares: ShareDirectory;
  readonly redelivery: SharedRedelivery;
  readonly wills: Wills;
  /** A number for a message, greater than those of all messages before. */
  readonly nextNumber: () => number;
  /** A number for a connection, greater than those of all connections before. */
  readonly nextSequence: () => number;
}

/** Retained messages that are looked at in one turn of the event loop. */
const PER_TURN = 50;
/** Bytes of retained messages in one piece, at most, if it has several. */
const PIECE_BYTES = 64 * 1_024;

export class EmbeddedSessions implements Sessions {
  readonly #options: EmbeddedSessionsOptions;
  /** Of connected sessions that are not stored. */
  readonly #unstored = new Map<string, EmbeddedRecord>();

  constructor(options: EmbeddedSessionsOptions) {
    this.#options = options;
  }

  choose(message: Message): readonly ShareChoice[] | undefined {
    return this.#options.shares.choose(message);
  }

  async claim(claim: SessionClaim): Promise<ClaimedSession> {
    const { persistentSessions, wills, shares, nextSequence } = this.#options;
    const sequence = nextSequence();
    const { clientId } = claim;
    const { epoch, ...found } = await persistentSessions.claim(claim);
    const record: EmbeddedRecord = new EmbeddedRecord(this.#options, claim, {
      isStored: found.isStored,
      isCurrent: found.isStored
        ? () => persistentSessions.epochOf(clientId) === epoch
        : () => this.#unstored.get(clientId) === record,
      released: () => this.#forget(clientId, record),
    });
    if (!found.isStored) this.#unstored.set(clientId, record);
    shares.join(clientId, found.subscriptions);
    await wills.reconnected(clientId, { resumes: found.isPresent });
    return { ...found, sequence, record };
  }

  enqueue(message: Message, options: EnqueueOptions): Promise<void> | undefined {
    return options.received === undefined
      ? this.#options.persistence.persist(message, options)
      : this.enqueueTogether(message, options, () => {});
  }

  /** As {@link enqueue}; `together` makes changes that have to be on disk together with those of the message. */
  enqueueTogether(message: Message, options: EnqueueOptions, together: () => void): Promise<void> | undefined {
    const { received, ...others } = options;
    return this.#options.persistence.persist(message, {
      ...others,
      together() {
        received?.record.incoming.put(received.packetId, undefined);
        together();
      },
    });
  }

  mayRetain(topic: string, bytes: number, owner: string): boolean {
    return this.#options.persistence.mayRetain(topic, bytes, owner);
  }

  async *retained(filter: string, room: () => RetainedRoom): AsyncIterable<readonly Message[]> {
    const { store, nextNumber } = this.#options;
    // A message that is retained from now on reaches the session by its subscription.
    const latest = nextNumber();
    let piece: Message[] = [];
    let free = room();
    let bytes = 0;
    let seen = 0;
    for (const found of store.retainedMatching(filter)) {
      let message: Message | undefined = found;
      const all = bytes + messageBytes(found);
      if (piece.length > 0 && (piece.length >= free.messages || all > Math.min(free.bytes, PIECE_BYTES))) {
        yield piece;
        [piece, free, bytes] = [[], room(), 0];
        [message] = store.retainedMatching(found.topic); // It may have been replaced meanwhile, or removed.
      }
      if (message !== undefined && message.number <= latest) {
        piece.push(message);
        bytes += messageBytes(message);
      }
      seen += 1;
      if (seen % PER_TURN !== 0) continue;
      if (piece.length > 0) yield piece;
      await nextTurn();
      [piece, free, bytes] = [[], room(), 0];
    }
    if (piece.length > 0) yield piece;
  }

  #forget(clientId: string, record: EmbeddedRecord): void {
    if (this.#unstored.get(clientId) === record) this.#unstored.delete(clientId);
  }
}
