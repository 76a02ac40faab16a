/**
 * The state of sessions that outlives their connection: subscriptions, queues, unreleased QoS 2 messages, wills, and the retained
 * messages. Reads are served from memory; changes are written by a thread, and `durable()` resolves when they are on disk. Knows no
 * identity and no access rule, and stores what it is given within its limits.
 */

import type { Message } from '../mqtt/message.ts';
import type { FilterTree } from './filter-tree.ts';
import { type IncomingMessage, IncomingMessages } from './incoming-messages.ts';
import { MemoryPool, type PoolRefusal, type PoolUse } from './memory-pool.ts';
import { MessageBodies } from './message-bodies.ts';
import type { MessageQueue } from './message-queue.ts';
import { MessageQueues, type QueueLimits, type QueueReceiver } from './message-queues.ts';
import type { QueuedMessage } from './outgoing-queue.ts';
import { QueueStorage } from './queue-storage.ts';
import { RetainedMessages, type RetainedTopic } from './retained-messages.ts';
import { RowIds } from './row-ids.ts';
import type { RecordChange } from './session-changes.ts';
import type { SessionChangeLog } from './session-commits.ts';
import type { SessionRow, SessionRows } from './session-rows.ts';
import { SessionSubscriptions, type StoredSubscription } from './session-subscriptions.ts';
import { messageWeight } from './stored-message.ts';
import { type WillRecord, WillRecords } from './will-records.ts';

/** Session Expiry Interval of a session that does not expire (MQTT 5, 3.1.2.11.2), and of every persistent one of MQTT 3.1.1. */
export const NEVER_EXPIRES = 0xffffffff;

export interface SessionStoreLimits extends QueueLimits {
  /** Size limit of everything stored, in bytes. All of it is in memory as well. */
  readonly storedBytes: number;
}

export interface SessionStoreCounters {
  /** Messages not queued, or removed before delivery, for want of room. */
  readonly dropped: number;
  /** Messages that expired in a queue. */
  readonly expired: number;
  readonly storedBytes: number;
  readonly retained: PoolUse;
  readonly queued: PoolUse;
  /** The store is nearly full, or refused a message recently. */
  readonly isNearlyFull: boolean;
  readonly commits: number;
  /** Bytes of changes that are not on disk yet. */
  readonly waitingBytes: number;
}

export interface StoredSession {
  readonly clientId: string;
  readonly owner: string;
  /** The subject of the session, as JSON. */
  readonly about: string;
  /** Undefined: its client was connected when the server ended. */
  readonly awaySince: number | undefined;
  /** Seconds; {@link NEVER_EXPIRES}. */
  readonly expiry: number;
}

/** Bytes that a change is counted with besides its values. */
const CHANGE_OVERHEAD = 100;

export class SessionStore {
  readonly #commits: SessionChangeLog;
  readonly #pool: MemoryPool;
  readonly #counts = { dropped: 0, expired: 0 };
  readonly #change: RecordChange;
  /** The owner of each session on disk. */
  readonly #owners: Map<string, string>;
  readonly #subscriptions: SessionSubscriptions;
  readonly #storage: QueueStorage;
  readonly #queues: MessageQueues;
  readonly #incoming: IncomingMessages;
  readonly #retained: RetainedMessages;
  readonly #wills: WillRecords;
  #storedSessions: readonly StoredSession[];
  /** Changes are not recorded: another node has the rows. */
  #isQuiet = false;
  readonly #numberOf: () => number;

  /** `rows`: of an earlier run. `numberOf`: a number for each message of it. */
  constructor(
    limits: SessionStoreLimits,
    commits: SessionChangeLog,
    rows: SessionRows,
    now: () => number,
    numberOf: () => number,
    idsOf: () => RowIds = () => new RowIds(),
  ) {
    this.#numberOf = numberOf;
    this.#commits = commits;
    this.#change = (name, values, bytes) => {
      if (!this.#isQuiet) commits.add({ name, values }, bytes + CHANGE_OVERHEAD);
    };
    this.#pool = new MemoryPool(limits.storedBytes, now);
    this.#owners = new Map(rows.sessions.map(({ client_id: clientId, owner }) => [clientId, owner]));
    const bodies = new MessageBodies(this.#pool, this.#change, idsOf());
    this.#storage = new QueueStorage(bodies, this.#pool, this.#change, commits, idsOf());
    this.#queues = new MessageQueues(limits, this.#counts, this.#pool, bodies, this.#storage, this.#owners, now);
    this.#subscriptions = new SessionSubscriptions(this.#change);
    this.#incoming = new IncomingMessages(this.#change);
    this.#retained = new RetainedMessages(this.#pool, this.#change, now);
    this.#wills = new WillRecords(this.#change);
    this.#storedSessions = rows.sessions.map(storedSession);
    this.#subscriptions.load(rows.subscriptions);
    this.#queues.load(rows, numberOf);
    this.#incoming.load(rows.incoming);
    this.#retained.load(rows.retained, numberOf);
    this.#wills.load(rows.wills);
  }

  // Rows that come from another node, and go to it.

  /** Loads the rows of sessions that another node had, and returns the sessions. */
  adopt(rows: SessionRows): readonly StoredSession[] {
    for (const { client_id: clientId, owner } of rows.sessions) this.#owners.set(clientId, owner);
    this.#subscriptions.load(rows.subscriptions);
    this.#queues.load(rows, this.#numberOf);
    this.#incoming.load(rows.incoming);
    this.#wills.load(rows.wills);
    return rows.sessions.map(storedSession);
  }

  /** Forgets everything of a session: another node has its rows from now on. */
  forget(clientId: string): void {
    this.#quietly(() => {
      this.removeSession(clientId);
      this.removeWill(clientId);
    });
  }

  /** Retains a message that another node has stored. */
  replicate(message: Message, owner: string): void {
    this.#quietly(() => this.retain(message, owner));
  }

  #quietly(change: () => void): void {
    this.#isQuiet = true;
    try {
      change();
    } finally {
      this.#isQuiet = false;
    }
  }

  // Sessions.

  /** Sessions of an earlier run. Returned once: the store itself does not need them. */
  storedSessions(): readonly StoredSession[] {
    const sessions = this.#storedSessions;
    this.#storedSessions = [];
    return sessions;
  }

  /** `expiry`: seconds after the end of the connection. What a client had in memory only does not belong to its new stored session. */
  putSession(clientId: string, owner: string, about: string, expiry: number, awaySince?: number): void {
    if (!this.#owners.has(clientId)) this.#queues.clear(clientId);
    const values = [clientId, owner, about, awaySince ?? null, expiry];
    this.#owners.set(clientId, owner);
    this.#change('putSession', values, clientId.length + owner.length + about.length);
  }

  setExpiry(clientId: string, seconds: number): void {
    this.#change('setExpiry', [seconds, clientId], clientId.length);
  }

  /** `since`: when the client disconnected; what its queue has in memory only is dropped. Undefined: it is connected. */
  setAway(clientId: string, since: number | undefined): void {
    if (this.#owners.has(clientId)) this.#change('setAway', [since ?? null, clientId], clientId.length);
    if (since !== undefined) this.#queues.disconnected(clientId);
  }

  /** Removes everything of a session except its will; also of one that was in memory only. */
  removeSession(clientId: string): void {
    if (this.#owners.delete(clientId)) this.#change('dropSession', [clientId], clientId.length);
    this.#subscriptions.clear(clientId);
    this.#queues.clear(clientId);
    this.#incoming.clear(clientId);
  }

  // Subscriptions.

  /** Stored subscriptions of QoS 1 and 2 that are not shared. */
  get filters(): FilterTree<StoredSubscription> {
    return this.#subscriptions.filters;
  }

  subscriptionsOf(clientId: string): readonly StoredSubscription[] {
    return this.#subscriptions.of(clientId);
  }

  /** A subscription to the same filter is replaced [MQTT-3.8.4-3]. */
  putSubscriptions(clientId: string, subscriptions: readonly StoredSubscription[]): void {
    this.#subscriptions.put(clientId, subscriptions);
  }

  removeSubscriptions(clientId: string, filters: readonly string[]): void {
    this.#subscriptions.remove(clientId, filters);
  }

  // Queues.

  /**
   * Queues a message of QoS 1 or 2 for each receiver, and returns the clients for which it did. A connected client without room gets
   * it in memory only. `queueOf` decides whether a queue is stored; without it, a queue is stored if the session is.
   */
  enqueue(receivers: readonly QueueReceiver[], message: Message): readonly string[] {
    return this.#queues.add(receivers, message);
  }

  /**
   * The same object until the client is away or its session is removed. A queue that exists stays stored, or in memory. A stored one
   * counts against the owner that `putSession` was given before.
   */
  queueOf(clientId: string, { isStored }: { readonly isStored: boolean }): MessageQueue {
    return this.#queues.of(clientId, isStored);
  }

  /**
   * Removes and returns the messages of shared subscriptions that another member gets instead: those of QoS 1 that were not
   * acknowledged, and those of QoS 2 that were not sent.
   */
  moveShared(clientId: string, moves: (queued: QueuedMessage) => boolean): readonly QueuedMessage[] {
    return this.#queues.takeShared(clientId, moves);
  }

  // QoS 2 messages that were received and not released.

  incoming(clientId: string, packetId: number): IncomingMessage | undefined {
    return this.#incoming.get(clientId, packetId);
  }

  /** `key`: under which the journal stores the message, until it is stored. */
  putIncoming(
    clientId: string,
    packetId: number,
    key: string | undefined,
    { isStored }: { readonly isStored: boolean },
  ): void {
    this.#incoming.put(clientId, packetId, key, isStored);
  }

  /** PUBREL. False: no such packet identifier. After a crash a new message under it must not be taken for the old one. */
  removeIncoming(clientId: string, packetId: number): boolean {
    return this.#incoming.remove(clientId, packetId);
  }

  incomingCount(clientId: string): number {
    return this.#incoming.count(clientId);
  }

  incomingOf(clientId: string): readonly { readonly packetId: number; readonly key: string | undefined }[] {
    return this.#incoming.of(clientId);
  }

  clearIncoming(clientId: string): void {
    this.#incoming.clear(clientId);
  }

  // Retained messages.

  /** An empty payload removes the message of the topic. False: it exceeds its owner's share; that is counted and reported. */
  retain(message: Message, owner: string): boolean {
    if (message.payload.length > 0) return this.#retained.put(message, owner);
    this.#retained.remove(message.topic);
    return true;
  }

  /** Removes the message of a topic, if its owner is this one still where it is stored. */
  removeRetainedOf(topic: string, owner: string): void {
    this.#retained.removeOf(topic, owner);
  }

  /** Whether an owner may retain so many bytes of payload and properties (`messageBytes`) within its share. */
  mayRetain(topic: string, bytes: number, owner: string): boolean {
    return this.#retained.hasRoom(topic, bytes, owner);
  }

  /** Counts and reports a message that {@link mayRetain} refused. */
  recordRefusedRetain(topic: string, bytes: number, owner: string): void {
    this.#pool.recordRefusal('retained', owner, messageWeight(topic, bytes));
  }

  /** Without expired messages. */
  retainedMatching(filter: string): Iterable<Message> {
    return this.#retained.matching(filter);
  }

  retainedOwners(): Iterable<RetainedTopic> {
    return this.#retained.owners();
  }

  get retainedCount(): number {
    return this.#retained.count;
  }

  // Wills.

  putWill(clientId: string, will: WillRecord): void {
    this.#wills.put(clientId, will);
  }

  willOf(clientId: string): WillRecord | undefined {
    return this.#wills.get(clientId);
  }

  removeWill(clientId: string): WillRecord | undefined {
    return this.#wills.remove(clientId);
  }

  wills(): Iterable<readonly [clientId: string, will: WillRecord]> {
    return this.#wills.all();
  }

  setWillDue(clientId: string, dueAt: number | undefined): void {
    this.#wills.setDue(clientId, dueAt);
  }

  // The store as a whole.

  /** Removes expired messages, a limited number per call. Returns the topics of retained ones that it removed. */
  sweep(now: number): readonly string[] {
    if (!this.hasRoom()) return [];
    this.#queues.sweep(now);
    return this.#retained.sweep(now);
  }

  /** Resolves when all changes so far are on disk. Rejects with Problem `unavailable` when they cannot be written. */
  durable(): Promise<void> {
    return this.#commits.durable();
  }

  /** False: too many changes wait for the disk; no more should be added. */
  hasRoom(): boolean {
    return this.#commits.hasRoomFor(1);
  }

  counters(): SessionStoreCounters {
    const { commits, queuedBytes } = this.#commits;
    return {
      ...this.#counts,
      storedBytes: this.#pool.bytes,
      retained: this.#pool.use('retained'),
      queued: this.#pool.use('queued'),
      isNearlyFull: this.#pool.isNearlyFull,
      commits,
      waitingBytes: queuedBytes,
    };
  }

  /** Reports each message that was refused because of its owner's share. Returns the function that stops it. */
  onRefused(listener: (refusal: PoolRefusal) => void): () => void {
    return this.#pool.onRefused(listener);
  }

  /** Called before each commit: adds changes that were deferred. */
  pushDeferred(): void {
    this.#storage.writePacketIds();
  }
}

function storedSession({ client_id: clientId, owner, about, away_since: away, expiry }: SessionRow): StoredSession {
  return { clientId, owner, about, awaySince: away ?? undefined, expiry };
}
