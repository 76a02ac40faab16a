/**
 * What is stored for sessions, as the handlers see it. A client id has one owner at a time: a connection claims it, gets what is stored,
 * and releases it when it has ended; messages for it are enqueued by everybody. Asynchronous, so that the state may belong to another
 * thread or host. `EmbeddedSessions` is the state of one process.
 */

import type { Rights, Subject } from '../access/acl.ts';
import type { Message } from '../mqtt/message.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import type { ShareChoice } from './shared-subscriptions.ts';

export interface SessionClaim {
  readonly clientId: string;
  readonly owner: string;
  readonly subject: Subject;
  readonly rights: Rights;
  /** What is stored is discarded [MQTT-3.1.2-4]. */
  readonly cleanStart: boolean;
  /** Seconds; 0: the session ends with the connection. */
  readonly sessionExpiryInterval: number;
}

export interface ClaimedSession {
  /** Session Present: there was a session, and it goes on. */
  readonly isPresent: boolean;
  /** The session is on disk; otherwise it exists only while its client is connected. */
  readonly isStored: boolean;
  readonly subscriptions: readonly StoredSubscription[];
  /** Different for each session of a client id; the same as long as the session goes on. Fences writes of a connection that lost it. */
  readonly epoch: number;
}

export interface EnqueueOptions {
  /** The owner of a retained message. */
  readonly owner: string;
  readonly shares: readonly ShareChoice[] | undefined;
  /** The message is in the journal as well, so that it is not lost when no session has room for it. */
  readonly isInJournal: boolean;
  /** Makes the changes that have to be on disk together with those of the message, or not at all. */
  readonly together?: (() => void) | undefined;
}

/** A message is only for sessions that are away, and none of them has room: nobody would get it. */
export class NoRoomError extends Error {}

export interface Sessions {
  /** What an earlier run stored is read, with the rights of now. Called once, before anything else. */
  load(rightsOf: (subject: Subject) => Promise<Rights>): Promise<void>;
  claim(claim: SessionClaim): Promise<ClaimedSession>;
  /** The connection has ended; the session ends `sessionExpiryInterval` seconds later. */
  release(clientId: string, sessionExpiryInterval: number): Promise<void>;
  /**
   * Stores a message for the persistent sessions that may receive it, and as the retained message of its topic. Undefined: there is nothing
   * to store. Resolves when it is on disk. Rejects with {@link NoRoomError}, or with Problem `unavailable`.
   */
  enqueue(message: Message, options: EnqueueOptions): Promise<void> | undefined;
}
