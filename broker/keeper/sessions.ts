/**
 * The state of sessions, as a broker node sees it. A client id has one owner at a time: a connection claims it, gets the record of its
 * session, changes it, and releases it when it has ended; messages for it are enqueued by everybody. Asynchronous, so that the state may
 * belong to another thread or host. `EmbeddedSessions` is the state in this thread.
 */

import type { Rights, Subject } from '../access/acl.ts';
import type { Message } from '../mqtt/message.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { IncomingMessage } from '../session-store/incoming-messages.ts';
import type { OutgoingQueue, QueuedMessage } from '../session-store/outgoing-queue.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import type { ShareChoice } from './shared-subscriptions.ts';

/** The connection that makes a claim. */
export interface Claimant {
  /** It has ended, and nothing that it sent is left to process: it needs no session. */
  readonly isGivenUp: boolean;
  /** Called when that happens; set while the claim waits. */
  onGivenUp: (() => void) | undefined;
}

export interface SessionClaim {
  readonly clientId: string;
  readonly owner: string;
  readonly subject: Subject;
  readonly rights: Rights;
  /** What is stored is discarded [MQTT-3.1.2-4]. */
  readonly cleanStart: boolean;
  /** Seconds; 0: the session ends with the connection. */
  readonly sessionExpiryInterval: number;
  /** A claim that waits is given up with its connection, before it takes the session from another one. */
  readonly claimant?: Claimant | undefined;
}

export interface ClaimedSession {
  /** Session Present: there was a session, and it goes on. */
  readonly isPresent: boolean;
  /** The session is on disk; otherwise it exists only while its client is connected. */
  readonly isStored: boolean;
  readonly subscriptions: readonly StoredSubscription[];
  /** Number of the connection, greater than those of all connections before. */
  readonly sequence: number;
  readonly record: SessionRecord;
  /** Those of the device, in a node: for `StreamAdmission.load()`. */
  readonly streams?: readonly string[] | undefined;
}

/** What only the claim can decide: other nodes have sessions, too. */
export interface ClaimRules {
  /** A takeover is reported, and counts towards the limit of takeovers: this connection has made none before. */
  readonly countsTakeover: boolean;
  /** The identity may not have more sessions than `sessionsPerIdentity`. */
  readonly isLimited: boolean;
}

/** The connection is refused; nothing was claimed. */
export interface ClaimRefusal {
  readonly refusal: 'takeover_limited' | 'too_many_sessions';
}

/** How much a receiver of retained messages can take now; one message in any case. */
export interface RetainedRoom {
  readonly messages: number;
  /** Of payload and properties. */
  readonly bytes: number;
}

/** How the connection of a session has ended. */
export interface ReleasedSession {
  /** Seconds after which the session ends, as DISCONNECT left it. */
  readonly sessionExpiryInterval: number;
  /** The will is published, after its delay. */
  readonly publishesWill: boolean;
  /** Keys of the last messages that were delivered, for the node of the next connection. */
  readonly recentKeys?: readonly string[] | undefined;
  /** False: the client left by itself, and nobody waits until the release is done. */
  readonly isAwaited?: boolean;
}

/** A message for a session that its own node adds to its queue. */
export type OwnDelivery = Pick<QueuedMessage, 'qos' | 'retain' | 'subscriptionIdentifiers' | 'share'>;

/** QoS 2 messages of a client that were received and not released, by packet identifier. */
export interface IncomingRecord {
  readonly size: number;
  get(packetId: number): IncomingMessage | undefined;
  /** `key`: under which the journal stores the message, until it is stored. */
  put(packetId: number, key: string | undefined): void;
  /** PUBREL. False: there is no such packet identifier. */
  remove(packetId: number): boolean;
}

/**
 * The state of one session, for the connection that claimed it. Changes are made in the order of the calls. Those of a connection that lost
 * its claim to a new session of the client id have no effect.
 */
export interface SessionRecord {
  readonly queue: OutgoingQueue;
  readonly incoming: IncomingRecord;
  /**
   * Stores subscriptions that were granted, and joins shared ones. Undefined: nothing to wait for. Resolves when they are stored and every
   * node knows them. Rejects with Problem `unavailable`.
   */
  subscribe(granted: readonly StoredSubscription[]): Promise<void> | undefined;
  /** Removes subscriptions. Resolves when that is stored; undefined: nothing to wait for. */
  unsubscribe(filters: readonly string[]): Promise<void> | undefined;
  /** Adds a message to the queue of this session. */
  enqueue(message: Message, delivery: OwnDelivery): void;
  /** Resolves when all changes so far are stored. Rejects with Problem `unavailable`. */
  durable(): Promise<void>;
  /** The connection may be accepted when this resolves. `subject`: the present one. Rejects with Problem `unavailable`. */
  storeWill(will: WillMessage, subject: Subject): Promise<void>;
  /** The connection has ended, and makes no other change. */
  release(end: ReleasedSession): Promise<void>;
}

/** A QoS 2 message that is marked as received together with the changes that the message makes, or not at all. */
export interface ReceivedMark {
  readonly record: SessionRecord;
  readonly packetId: number;
}

export interface EnqueueOptions {
  /** The owner of a retained message. */
  readonly owner: string;
  readonly shares: readonly ShareChoice[] | undefined;
  /** The message is in the journal as well, so that it is not lost when no session has room for it. */
  readonly isInJournal: boolean;
  readonly received?: ReceivedMark | undefined;
}

/** A message is only for sessions that are away, and none of them has room: nobody would get it. */
export class NoRoomError extends Error {}

/** The owner of a message may not retain it: it exceeds its limits, or its share of the store. */
export class RetainRefusedError extends Error {}

export interface Sessions {
  /** One receiver for each shared subscription that matches. Undefined: none matches, or `enqueue` chooses them elsewhere. */
  choose(message: Message): readonly ShareChoice[] | undefined;
  /** Rejects with Problem `unavailable`, also when the claim was given up. */
  claim(claim: SessionClaim): Promise<ClaimedSession | ClaimRefusal>;
  /**
   * Stores a message for the persistent sessions that may receive it, and as the retained message of its topic. Undefined: there is nothing
   * to store. Resolves when it is on disk. Rejects with {@link NoRoomError}, {@link RetainRefusedError} or Problem `unavailable`.
   */
  enqueue(message: Message, options: EnqueueOptions): Promise<void> | undefined;
  /**
   * Whether an owner may retain so many bytes of payload and properties. A refusal is counted and reported. Where only another thread can
   * tell, the answer is true, and `enqueue` rejects.
   */
  mayRetain(topic: string, bytes: number, owner: string): boolean;
  /** Retained messages that match a filter and have not expired, in pieces that fit into the room at that time. */
  retained(filter: string, room: () => RetainedRoom): AsyncIterable<readonly Message[]>;
}

/** The state as the thread has it that owns it: it refuses no claim. */
export interface KeeperSessions extends Sessions {
  claim(claim: SessionClaim): Promise<ClaimedSession>;
}
