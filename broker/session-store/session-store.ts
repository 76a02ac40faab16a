/**
 * The state of persistent sessions, with the interface that aedes uses (promises of aedes-persistence 11).
 * Reads are served from memory, at once and in order; changes are written by a thread. A promise that precedes an
 * acknowledgement resolves when its change is on disk. Knows no identity and no access rule, and stores what it is given
 * within its limits.
 */

import { Readable } from 'node:stream';
import { Problem } from '@rollcall/protocol';
import { RetainedMessages } from './aedes-retained-messages.ts';
import { FilterTree, type StoredSubscription } from './filter-tree.ts';
import { IncomingPackets } from './incoming-packets.ts';
import { MemoryPool, type PoolRefusal, type PoolUse } from './memory-pool.ts';
import { OutgoingQueues, type QueueLimits, type QueueReceiver } from './outgoing-queues.ts';
import type { SessionChange } from './session-changes.ts';
import type { SessionCommits } from './session-commits.ts';
import type { SessionRows } from './session-rows.ts';
import { type ClientKey, type StoredPacket, weightOf } from './stored-packets.ts';
import { type StoredWill, StoredWills, type WillPacket } from './stored-wills.ts';

export interface SessionStoreLimits extends QueueLimits {
  /** Size limit of everything stored, in bytes. All of it is in memory as well. */
  readonly storedBytes: number;
}

export interface SessionStoreCounters {
  /** Messages not queued, or removed before delivery, for want of room. */
  readonly dropped: number;
  readonly storedBytes: number;
  readonly retained: PoolUse;
  readonly queued: PoolUse;
  /** The store is nearly full, or refused a message recently. */
  readonly isNearlyFull: boolean;
  readonly commits: number;
  /** Bytes of changes that are not on disk yet. */
  readonly waitingBytes: number;
}

/** A persistent session as stored. */
export interface StoredSessionRow {
  readonly clientId: string;
  readonly owner: string;
  /** The subject of the session, as JSON. */
  readonly about: string;
  readonly awaySince: number | undefined;
}

/** The part of aedes that numbers messages. */
export interface AedesCounters {
  id: string;
  counter: number;
}

type Subscription = Omit<StoredSubscription, 'clientId'> & { readonly subscriptionIdentifier?: number };

/** Bytes that a change is counted with besides its values. */
const CHANGE_OVERHEAD = 100;

const NOTHING = Promise.resolve();

export class SessionStore {
  /** Set by `setup`. */
  broker: AedesCounters | undefined;
  readonly #commits: SessionCommits;
  readonly #pool: MemoryPool;
  readonly #filters = new FilterTree<StoredSubscription>();
  readonly #subscriptions = new Map<string, Map<string, Subscription>>();
  readonly #counts = { dropped: 0 };
  readonly #queues: OutgoingQueues;
  readonly #retained: RetainedMessages;
  readonly #incoming: IncomingPackets;
  readonly #wills: StoredWills;
  #loaded: SessionRows | undefined;

  /** `rows`: of an earlier run. */
  constructor(limits: SessionStoreLimits, commits: SessionCommits, rows: SessionRows, now: () => number) {
    this.#pool = new MemoryPool(limits.storedBytes, now);
    this.#commits = commits;
    const change = (one: SessionChange, bytes: number) => this.#change(one, bytes);
    this.#queues = new OutgoingQueues(limits, this.#counts, this.#pool, change);
    this.#retained = new RetainedMessages(this.#pool, change);
    this.#incoming = new IncomingPackets(change);
    this.#wills = new StoredWills(change);
    this.#loaded = rows;
    this.#retained.load(rows);
    this.#incoming.load(rows);
    this.#wills.load(rows);
    for (const { client_id: clientId, filter, qos } of rows.subscriptions)
      this.#remember(clientId, { topic: filter, qos });
  }

  // Subscriptions.

  get filters(): FilterTree<StoredSubscription> {
    return this.#filters;
  }

  // Sessions.

  putSession(clientId: string, owner: string, about: string, awaySince?: number): void {
    const values = [clientId, owner, about, awaySince ?? null, 0xffffffff];
    this.#change({ name: 'putSession', values }, owner.length + about.length);
  }

  setAway(clientId: string, since: number | undefined): void {
    this.#change({ name: 'setAway', values: [since ?? null, clientId] }, clientId.length);
  }

  /** Removes everything of a session except its will. */
  removeSession(clientId: string): void {
    this.#change({ name: 'dropSession', values: [clientId] }, clientId.length);
    this.#dropSubscriptions(clientId);
    this.#queues.clear(clientId);
    this.#incoming.clear({ id: clientId });
  }

  /** Sessions of an earlier run. Available once, before `setup`. */
  storedSessions(): readonly StoredSessionRow[] {
    const rows = this.#loaded?.sessions ?? [];
    return rows.map(({ client_id: clientId, owner, about, away_since: away }) => {
      return { clientId, owner, about, awaySince: away ?? undefined };
    });
  }

  /** Resolves when all changes so far are on disk. Rejects with Problem `unavailable` when they cannot be written. */
  durable(): Promise<void> {
    return this.#commits.durable();
  }

  counters(): SessionStoreCounters {
    const { commits, queuedBytes } = this.#commits;
    return {
      dropped: this.#counts.dropped,
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

  /** Whether an owner may retain a message within its share. */
  mayRetain(packet: StoredPacket, owner: string): boolean {
    return this.#retained.mayRetain(packet, owner);
  }

  /** Counts and reports a message that {@link mayRetain} refused. */
  recordRefusedRetain(packet: StoredPacket, owner: string): void {
    this.#pool.recordRefusal('retained', owner, weightOf(packet));
  }

  // Called by aedes.

  async setup(broker: unknown): Promise<void> {
    this.broker = broker as AedesCounters;
    const rows = this.#loaded;
    this.#loaded = undefined;
    if (rows !== undefined) this.#queues.load(rows, this.broker);
  }

  /** QoS 0 is not acknowledged, so the promise does not wait for the disk. */
  storeRetained(packet: StoredPacket, owner?: string): Promise<void> {
    const isAdded = packet.payload.length > 0;
    if (isAdded && !this.#commits.hasRoomFor(1)) return this.#refuse('retained message');
    if (!this.#retained.store(packet, owner)) return this.#refuse('retained message');
    return (packet.qos ?? 0) > 0 ? this.durable() : NOTHING;
  }

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter]);
  }

  createRetainedStreamCombi(filters: readonly string[]): Readable {
    return Readable.from(this.#retained.matching(filters));
  }

  get retainedCount(): number {
    return this.#retained.count;
  }

  retainedOwners(): ReturnType<RetainedMessages['owners']> {
    return this.#retained.owners();
  }

  addSubscriptions(client: ClientKey, subscriptions: readonly Subscription[]): Promise<void> {
    if (!this.#commits.hasRoomFor(1)) return this.#refuse('subscription');
    for (const { topic, qos, rh, rap, nl, subscriptionIdentifier } of subscriptions) {
      const more = {
        rh,
        rap,
        nl,
        ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
      };
      const known = this.#subscriptions.get(client.id)?.get(topic);
      const options = JSON.stringify(more);
      if (known !== undefined && known.qos === qos && options === JSON.stringify(optionsOf(known))) continue;
      this.#remember(client.id, { topic, qos, ...more });
      const values = [client.id, topic, qos, nl ? 1 : 0, rap ? 1 : 0, rh ?? 0, subscriptionIdentifier ?? null];
      this.#change({ name: 'putSubscription', values }, client.id.length + topic.length);
    }
    return this.durable();
  }

  removeSubscriptions(client: ClientKey, filters: readonly string[]): Promise<void> {
    const own = this.#subscriptions.get(client.id);
    for (const filter of filters) {
      if (!own?.delete(filter)) continue;
      this.#filters.removeStored(filter, client.id);
      this.#change({ name: 'dropSubscription', values: [client.id, filter] }, client.id.length + filter.length);
    }
    if (own?.size === 0) this.#subscriptions.delete(client.id);
    return this.durable();
  }

  async subscriptionsByClient(client: ClientKey): Promise<Subscription[]> {
    return [...(this.#subscriptions.get(client.id)?.values() ?? [])].map((one) => ({ ...one }));
  }

  /** Without subscriptions of QoS 0, for which nothing is queued. */
  async subscriptionsByTopic(topic: string): Promise<StoredSubscription[]> {
    return this.#filters.matching(topic);
  }

  async cleanSubscriptions(client: ClientKey): Promise<void> {
    this.#dropSubscriptions(client.id);
  }

  async countOffline(): Promise<{ readonly subsCount: number; readonly clientsCount: number }> {
    return { subsCount: this.#filters.storedCount, clientsCount: this.#subscriptions.size };
  }

  outgoingEnqueue(subscription: QueueReceiver, packet: StoredPacket): Promise<void> {
    return this.outgoingEnqueueCombi([subscription], packet);
  }

  outgoingEnqueueCombi(subscriptions: readonly QueueReceiver[], packet: StoredPacket): Promise<void> {
    if (subscriptions.length === 0) return NOTHING;
    if (!this.#commits.hasRoomFor(1)) return this.#refuse('message for disconnected clients');
    this.#queues.add(subscriptions, packet);
    return this.durable();
  }

  /** The same, but rejects when the message could be queued for none of them, after earlier changes are on disk. */
  enqueueForSome(subscriptions: readonly QueueReceiver[], packet: StoredPacket): Promise<void> {
    if (!this.#commits.hasRoomFor(1)) return this.#refuse('message for disconnected clients');
    if (this.#queues.add(subscriptions, packet) === 0) {
      const [first] = subscriptions;
      const reason = `none of ${subscriptions.length} sessions has room for it, among them that of ${first?.clientId}`;
      return this.durable().then(() => Promise.reject(new Problem('unavailable', { reason })));
    }
    return this.durable();
  }

  /**
   * A QoS 2 message is sent only after its packet identifier is on disk: under another one it would be another message
   * [MQTT-4.3.3-1]. That of QoS 1 is written later; most are acknowledged before. Whatever was granted since, a message is
   * sent with the QoS that it was queued with, because it may have to be sent again.
   */
  outgoingUpdate(client: ClientKey, packet: StoredPacket): Promise<void> {
    const qos = this.#queues.update(client.id, packet);
    if (qos === undefined) return Promise.reject(new Error('no such packet'));
    this.#commits.schedule();
    if (packet.cmd !== 'pubrel') packet.qos = qos;
    if (qos < 2) return NOTHING;
    this.#queues.writePacketIds();
    return this.durable();
  }

  async outgoingClearMessageId(client: ClientKey, packet: StoredPacket): Promise<StoredPacket | undefined> {
    return this.#queues.acknowledge(client.id, packet.messageId);
  }

  /** A copy of a queue, in order. */
  queuedPackets(clientId: string): readonly StoredPacket[] {
    return this.#queues.packets(clientId);
  }

  outgoingStream(client: ClientKey): Readable {
    return Readable.from(this.#queues.packets(client.id));
  }

  /** The oldest message of a queue that was not sent yet. */
  nextUnsent(clientId: string): StoredPacket | undefined {
    return this.#queues.nextUnsent(clientId);
  }

  isUnsent(clientId: string, packet: StoredPacket): boolean {
    return this.#queues.isUnsent(clientId, packet);
  }

  dropUnsent(clientId: string, packet: StoredPacket): void {
    this.#queues.dropUnsent(clientId, packet);
  }

  queuedCount(clientId: string): number {
    return this.#queues.count(clientId);
  }

  incomingStorePacket(client: ClientKey, packet: StoredPacket): Promise<void> {
    if (!this.#commits.hasRoomFor(1)) return this.#refuse('message of QoS 2');
    this.#incoming.store(client, packet);
    return this.durable();
  }

  incoming(client: ClientKey, messageId: number | undefined): StoredPacket | undefined {
    return this.#incoming.get(client, messageId);
  }

  incomingCount(clientId: string): number {
    return this.#incoming.count(clientId);
  }

  async incomingGetPacket(
    client: ClientKey,
    packet: { readonly messageId?: number | undefined },
  ): Promise<StoredPacket> {
    const found = this.#incoming.get(client, packet.messageId);
    if (found === undefined) throw new Error('no such packet');
    return found;
  }

  /** PUBCOMP frees the identifier: after a crash a new message under it must not be taken for the old one. */
  incomingDelPacket(client: ClientKey, packet: { readonly messageId?: number | undefined }): Promise<void> {
    if (!this.#incoming.remove(client, packet.messageId)) return Promise.reject(new Error('no such packet'));
    return this.durable();
  }

  async cleanIncoming(client: ClientKey): Promise<void> {
    this.#incoming.clear(client);
  }

  /** A connection is accepted only after its will is stored [MQTT-3.1.2-8]. */
  putWill(client: ClientKey, packet: WillPacket, about?: string): Promise<void> {
    if (!this.#commits.hasRoomFor(1)) return this.#refuse('will');
    packet.brokerId = this.broker?.id;
    packet.clientId = client.id;
    this.#wills.put(client.id, packet, about);
    return this.durable();
  }

  async getWill(client: ClientKey): Promise<WillPacket | undefined> {
    return this.#wills.get(client.id);
  }

  async delWill(client: ClientKey): Promise<WillPacket | undefined> {
    return this.#wills.remove(client.id);
  }

  /** Wills of an earlier run. */
  pendingWills(): readonly StoredWill[] {
    return this.#wills.pending();
  }

  pendingWill(clientId: string): StoredWill | undefined {
    return this.#wills.pendingOf(clientId);
  }

  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    return Readable.from(this.#wills.ofOtherBrokers(brokers));
  }

  getClientList(topic: string): Readable {
    const found = [...this.#subscriptions].filter(([, own]) => own.has(topic)).map(([clientId]) => clientId);
    return Readable.from(found);
  }

  async destroy(): Promise<void> {
    await this.#commits.flush();
  }

  /** Called before each commit: adds changes that were deferred. */
  pushDeferred(): void {
    this.#queues.writePacketIds();
  }

  #remember(clientId: string, subscription: Subscription): void {
    const own = this.#subscriptions.get(clientId) ?? new Map<string, Subscription>();
    this.#subscriptions.set(clientId, own);
    own.set(subscription.topic, subscription);
    const { topic, qos, rh, rap, nl } = subscription;
    if (qos > 0) this.#filters.addStored(topic, { clientId, topic, qos, rh, rap, nl });
    else this.#filters.removeStored(topic, clientId);
  }

  #change(change: SessionChange, bytes: number): void {
    this.#commits.add(change, bytes + CHANGE_OVERHEAD);
  }

  #dropSubscriptions(clientId: string): void {
    const own = this.#subscriptions.get(clientId);
    if (own === undefined) return;
    this.#subscriptions.delete(clientId);
    for (const filter of own.keys()) this.#filters.removeStored(filter, clientId);
    this.#change({ name: 'dropSubscriptions', values: [clientId] }, clientId.length);
  }

  #refuse(what: string): Promise<never> {
    return Promise.reject(new Problem('unavailable', { reason: `expected room to store a ${what}, found none` }));
  }
}

function optionsOf({ topic: _topic, qos: _qos, ...more }: Subscription): object {
  return more;
}
