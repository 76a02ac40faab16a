/**
 * The persistence that aedes uses, under the access rules: a refused filter is never stored, a message is queued only for
 * sessions that may receive it, and everything stored has an owner, so that a revocation can delete it. How and when it is
 * written to disk is up to `broker/session-store/`.
 */

import type { Readable } from 'node:stream';
import { isServerTopic } from '@rollcall/protocol';
import type { Rights, Subject } from '../access/acl.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import { InboundQos2, type InboundQos2Client } from '../mqtt/inbound-qos2.ts';
import type { StoredSubscription } from '../session-store/filter-tree.ts';
import { SERVER_OWNER } from '../session-store/memory-pool.ts';
import type { QueueReceiver } from '../session-store/outgoing-queues.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { ClientKey, StoredPacket } from '../session-store/stored-packets.ts';
import type { StoredWill, WillPacket } from '../session-store/stored-wills.ts';
import { PersistentSessions } from '../sessions/persistent-sessions.ts';
import type { KeyedPacket } from './delivered-keys.ts';
import { RetainedOwners } from './retained-owners.ts';

/** A will of an earlier run of the server. */
export interface PendingWill {
  readonly clientId: string;
  readonly owner: string;
  readonly subject: Subject;
  readonly packet: WillPacket;
}

/** A connected client. */
export interface ConnectedClient {
  readonly owner: string;
  readonly subject: Subject;
  readonly isEnded: boolean;
  /** The filters that it was granted. */
  readonly filters: { has(filter: string): boolean };
}

/** Messages stored and not yet delivered by aedes. Older entries belong to connections that were lost meanwhile. */
const IN_DELIVERY_MAX = 10_000;

const NO_SUBSCRIPTIONS = Promise.resolve<StoredSubscription[]>([]);
const NOTHING = Promise.resolve();
const NO_RECEIVERS: readonly QueueReceiver[] = [];
const EMPTY = Buffer.alloc(0);

export class AedesPersistence {
  readonly inboundQos2: InboundQos2;
  readonly persistentSessions: PersistentSessions;
  readonly #store: SessionStore;
  readonly #limits: BrokerLimits;
  readonly #retained: RetainedOwners;
  readonly #live: (clientId: string) => ConnectedClient | undefined;
  readonly #limitExceeded: (owner: string, bytes: number) => void;
  /** Numbers of messages that were stored before aedes publishes them. */
  readonly #storedBeforePublish = new Set<number>();
  /** Numbers of messages that are queued, and not yet delivered to connected clients. */
  readonly #inDelivery = new Set<number>();

  /** `limitExceeded` is called for an owner that would retain more than the limits of one identity. */
  constructor(
    store: SessionStore,
    limits: BrokerLimits,
    live: (clientId: string) => ConnectedClient | undefined,
    limitExceeded: (owner: string, bytes: number) => void,
  ) {
    this.#limitExceeded = limitExceeded;
    this.#store = store;
    this.inboundQos2 = new InboundQos2(store);
    this.persistentSessions = new PersistentSessions(store);
    this.#limits = limits;
    this.#retained = new RetainedOwners(limits);
    this.#live = live;
  }

  /** Loads what an earlier run stored; called before `setup`. Unreadable sessions are removed. */
  async load(rightsOf: (subject: Subject) => Promise<Rights>, now: number): Promise<void> {
    await this.persistentSessions.load(rightsOf, now);
    for (const { topic, owner, bytes } of this.#store.retainedOwners()) {
      if (owner !== undefined) this.#retained.set(topic, owner, bytes);
    }
  }

  get retainedCount(): number {
    return this.#store.retainedCount;
  }

  /** Changes whenever an answer of `hasStoredSubscription` may change. */
  get generation(): number {
    return this.#store.filters.generation;
  }

  /** Whether a stored subscription of QoS 1 or 2 matches: such a message must be queued before it is acknowledged. */
  hasStoredSubscription(topic: string): boolean {
    return this.#store.filters.hasMatch(topic);
  }

  /** Owners of anything stored. After a restart their registry status is checked again. */
  owners(): ReadonlySet<string> {
    return new Set([
      ...this.persistentSessions.owners(),
      ...this.#retained.owners(),
      ...this.pendingWills().map(({ owner }) => owner),
    ]);
  }

  /** Whether an owner may retain a message, by its own limits and its share of the store. A refusal is counted and reported. */
  mayRetain(packet: StoredPacket, owner: string): boolean {
    const { topic, payload } = packet;
    if (!this.#retained.hasRoom(topic, owner, payload.length)) {
      this.#limitExceeded(owner, payload.length);
      return false;
    }
    if (this.#store.mayRetain(packet, owner)) return true;
    this.#store.recordRefusedRetain(packet, owner);
    return false;
  }

  /**
   * Stores a message for persistent sessions before it is acknowledged; aedes itself would do so after that. Resolves when
   * it is on disk; undefined when there is nothing to store. aedes publishes the same packet later, and skips storing it. Rejects when
   * the message is only for disconnected sessions and none of them has room: nobody would get it. `isStored`: the message is in the
   * journal as well.
   */
  storeBeforePublish(packet: StoredPacket, { isStored }: { readonly isStored: boolean }): Promise<void> | undefined {
    const receivers = this.#receivers(this.#store.filters.matching(packet.topic), packet.topic);
    if (receivers.length === 0 && packet.retain !== true) return undefined;
    const { broker } = this.#store;
    if (broker === undefined) throw new Error('expected an engine, found none');
    broker.counter += 1;
    packet.brokerId = broker.id;
    packet.brokerCounter = broker.counter;
    const retained = packet.retain === true ? this.storeRetained(packet) : NOTHING;
    const isOnlyQueued = !isStored && packet.retain !== true && receivers.length > 0;
    const isForDisconnectedOnly =
      isOnlyQueued && !receivers.some(({ clientId }) => this.persistentSessions.isConnected(clientId));
    const queued = isForDisconnectedOnly
      ? this.#store.enqueueForSome(receivers, asQueued(packet))
      : this.#store.outgoingEnqueueCombi(receivers, asQueued(packet));
    addBounded(this.#storedBeforePublish, broker.counter);
    if (receivers.length > 0) addBounded(this.#inDelivery, broker.counter);
    return Promise.all([retained, queued]).then(() => {});
  }

  /** Deletes everything stored for an identity: sessions, queues, wills, retained messages. Resolves when that is on disk. */
  async purge(owner: string): Promise<void> {
    this.persistentSessions.purge(owner);
    for (const topic of this.#retained.topicsOf(owner)) {
      this.#retained.delete(topic);
      await this.#store.storeRetained({ topic, payload: EMPTY });
    }
    await this.dropPendingWills(owner);
    await this.#store.durable();
  }

  /** Deletes the pending wills of an owner, which are then not published. */
  async dropPendingWills(owner: string): Promise<void> {
    for (const will of this.pendingWills()) if (will.owner === owner) await this.#store.delWill({ id: will.clientId });
  }

  /** Removes expired sessions, a limited number per call. */
  sweep(now: number): void {
    this.persistentSessions.sweep(now, this.#limits.sessionExpiry);
  }

  /** Wills of connections that ended with an earlier run of the server. */
  pendingWills(): readonly PendingWill[] {
    return this.#store.pendingWills().flatMap((will) => {
      const details = readWillDetails(will);
      return details === undefined ? [] : [{ clientId: will.clientId, packet: will.packet, ...details }];
    });
  }

  pendingWill(clientId: string): PendingWill | undefined {
    const will = this.#store.pendingWill(clientId);
    const details = will && readWillDetails(will);
    return will && details && { clientId, packet: will.packet, ...details };
  }

  /** Retains the will of a disconnected client. Resolves when it is on disk. */
  async retainPendingWill({ owner, packet }: PendingWill): Promise<void> {
    const { topic, payload, qos = 0 } = packet;
    if (!this.mayRetain({ topic, payload }, owner)) return;
    this.#retained.delete(topic);
    if (payload.length > 0) this.#retained.set(topic, owner, payload.length);
    await this.#store.storeRetained({ cmd: 'publish', topic, payload, qos, retain: true }, owner);
    await this.#store.durable();
  }

  /** Each client once, with the highest QoS of its matching filters [MQTT-3.3.5-1]. */
  #receivers(subscriptions: readonly StoredSubscription[], topic: string): readonly QueueReceiver[] {
    if (subscriptions.length === 0) return NO_RECEIVERS;
    const receivers = new Map<string, QueueReceiver & { readonly qos: number }>();
    for (const { clientId, qos } of subscriptions) {
      const rights = this.persistentSessions.rightsOf(clientId);
      const highest = receivers.get(clientId)?.qos;
      if (rights === undefined || (highest !== undefined && highest >= qos)) continue;
      if (highest !== undefined || rights.mayReceive(topic).allowed) {
        receivers.set(clientId, { clientId, qos, owner: this.persistentSessions.ownerOf(clientId) });
      }
    }
    return [...receivers.values()];
  }

  // Called by aedes.

  async setup(broker: unknown): Promise<void> {
    await this.#store.setup(broker);
  }

  storeRetained(packet: StoredPacket): Promise<void> {
    const { topic, clientId, payload, brokerCounter } = packet;
    if (brokerCounter !== undefined && this.#storedBeforePublish.has(brokerCounter)) return NOTHING;
    const owner = clientId === undefined ? serverOwner(topic) : this.#live(clientId)?.owner;
    if (payload.length > 0 && owner === undefined) return NOTHING; // Without an owner it could not be deleted.
    if (owner !== undefined && !this.#store.mayRetain(packet, owner)) return this.#store.storeRetained(packet, owner);
    this.#retained.delete(topic);
    if (payload.length === 0 || owner === undefined) return this.#store.storeRetained(packet);
    this.#retained.set(topic, owner, payload.length);
    return this.#store.storeRetained(packet, owner);
  }

  createRetainedStream(pattern: string): Readable {
    return this.#store.createRetainedStream(pattern);
  }

  createRetainedStreamCombi(patterns: readonly string[]): Readable {
    return this.#store.createRetainedStreamCombi(patterns);
  }

  /** Stores only filters that were granted: aedes passes the refused ones of a packet as well. */
  async addSubscriptions(
    client: ClientKey,
    subscriptions: readonly { readonly topic: string; readonly qos: number }[],
  ): Promise<void> {
    const rights = this.persistentSessions.rightsOf(client.id);
    const filters = this.#live(client.id)?.filters;
    const granted = subscriptions.filter(({ topic }) => filters?.has(topic) && rights?.maySubscribe(topic).allowed);
    if (granted.length > 0) await this.#store.addSubscriptions(client, granted);
  }

  removeSubscriptions(client: ClientKey, topics: readonly string[]): Promise<void> {
    return this.#store.removeSubscriptions(client, topics);
  }

  subscriptionsByClient(client: ClientKey): Promise<unknown[]> {
    return this.#store.subscriptionsByClient(client);
  }

  subscriptionsByTopic(topic: string): Promise<StoredSubscription[]> {
    return this.persistentSessions.size === 0 ? NO_SUBSCRIPTIONS : this.#store.subscriptionsByTopic(topic);
  }

  /** Called with every clean CONNECT, after `clientConnected` has removed the session. */
  cleanSubscriptions(client: ClientKey): Promise<void> {
    return this.persistentSessions.has(client.id) ? this.#store.cleanSubscriptions(client) : NOTHING;
  }

  countOffline(): Promise<unknown> {
    return this.#store.countOffline();
  }

  outgoingEnqueue(subscription: { readonly clientId: string }, packet: StoredPacket): Promise<void> {
    return this.outgoingEnqueueCombi([{ topic: packet.topic, qos: 1, clientId: subscription.clientId }], packet);
  }

  /** Queues for the sessions that may receive the message. */
  outgoingEnqueueCombi(subscriptions: readonly StoredSubscription[], packet: StoredPacket): Promise<void> {
    const { brokerCounter } = packet;
    if (brokerCounter !== undefined && this.#storedBeforePublish.delete(brokerCounter)) {
      if (this.#inDelivery.has(brokerCounter)) this.#deliveredKeys(brokerCounter);
      return NOTHING;
    }
    const receivers = this.#receivers(subscriptions, packet.topic);
    if (receivers.length === 0) return NOTHING;
    const queued = this.#store.outgoingEnqueueCombi(receivers, asQueued(packet));
    if (brokerCounter === undefined) return queued;
    addBounded(this.#inDelivery, brokerCounter);
    return queued.finally(() => this.#deliveredKeys(brokerCounter));
  }

  /** A message without room in the queue is still delivered to a connected reader. A rejection would make aedes close the reader. */
  outgoingUpdate(client: ClientKey, packet: StoredPacket): Promise<void> {
    // A message of QoS 0 for this client was not queued, unless the grant is newer than the message.
    if (packet.qos === 0 && !this.#store.isUnsent(client.id, packet)) return NOTHING;
    return this.#store.outgoingUpdate(client, packet).catch(() => {});
  }

  async outgoingClearMessageId(client: ClientKey, packet: StoredPacket): Promise<StoredPacket | undefined> {
    // aedes also calls this for messages that were never sent; that would remove another message.
    if (packet.messageId === undefined) return undefined;
    // And for those that it could not send again, because the client is gone or does not read: they are not acknowledged.
    const isSentAgain = packet.cmd === 'publish';
    if (isSentAgain && this.persistentSessions.rightsOf(client.id)?.mayReceive(packet.topic).allowed) return undefined;
    return this.#store.outgoingClearMessageId(client, packet);
  }

  /**
   * Messages that were sent and not acknowledged: they are sent again before anything else [MQTT-4.4.0-1]. The rest is
   * replayed after CONNECT.
   */
  outgoingStream(client: ClientKey): Iterable<StoredPacket> {
    if (this.#store.queuedCount(client.id) === 0) return [];
    return this.#store
      .queuedPackets(client.id)
      .filter((packet) => packet.messageId !== undefined)
      .map((packet) => (packet.cmd === 'pubrel' ? packet : { ...packet, dup: true })); // [MQTT-3.3.1-1]
  }

  isInDelivery({ brokerCounter }: StoredPacket): boolean {
    return brokerCounter !== undefined && this.#inDelivery.has(brokerCounter);
  }

  /** aedes delivers a message in the turn in which it learns that the message is queued. */
  #deliveredKeys(brokerCounter: number): void {
    setImmediate(() => this.#inDelivery.delete(brokerCounter));
  }

  nextUnsent(clientId: string): StoredPacket | undefined {
    return this.#store.nextUnsent(clientId);
  }

  isUnsent(clientId: string, packet: StoredPacket): boolean {
    return this.#store.isUnsent(clientId, packet);
  }

  dropUnsent(clientId: string, packet: StoredPacket): void {
    this.#store.dropUnsent(clientId, packet);
  }

  /** Committed together with the queue entries of the message: when it is sent again, it must be neither lost nor queued twice. */
  incomingStorePacket(client: InboundQos2Client, packet: StoredPacket): Promise<void> {
    const queued =
      (packet as KeyedPacket).isRepeated === true
        ? undefined
        : this.storeBeforePublish(packet, { isStored: (packet as KeyedPacket).isInJournal === true });
    const isOver = client.clean !== true && !this.persistentSessions.has(client.id);
    const stored = isOver ? NOTHING : this.inboundQos2.markReceived(client, packet);
    return queued === undefined ? stored : Promise.all([queued, stored]).then(() => {});
  }

  incomingGetPacket(client: ClientKey, packet: StoredPacket): Promise<StoredPacket> {
    return this.inboundQos2.find(client, packet);
  }

  incomingDelPacket(client: ClientKey, packet: { readonly messageId?: number | undefined }): Promise<void> {
    return this.#store.incomingDelPacket(client, packet);
  }

  cleanIncoming(client: ClientKey): Promise<void> {
    return this.#store.cleanIncoming(client);
  }

  putWill(client: ClientKey, packet: WillPacket): Promise<void> {
    const live = this.#live(client.id);
    const about = live && JSON.stringify({ owner: live.owner, subject: live.subject });
    return this.#store.putWill(client, packet, about);
  }

  getWill(client: ClientKey): Promise<unknown> {
    return this.#store.getWill(client);
  }

  /** aedes also calls this for a connection that was taken over: then the stored will belongs to its successor. */
  delWill(client: ClientKey & { readonly brokerId?: string }): Promise<unknown> {
    const isOfClosed = client.brokerId !== undefined;
    return isOfClosed && this.#live(client.id)?.isEnded === false ? NOTHING : this.#store.delWill(client);
  }

  /** Wills of an earlier run are published by `pending-wills.ts`, those of this run by their connections. */
  streamWill(): Iterable<never> {
    return [];
  }

  getClientList(topic: string): Readable {
    return this.#store.getClientList(topic);
  }

  destroy(): Promise<void> {
    return NOTHING;
  }
}

function readWillDetails({ about }: StoredWill): Pick<PendingWill, 'owner' | 'subject'> | undefined {
  return about === undefined ? undefined : (JSON.parse(about) as Pick<PendingWill, 'owner' | 'subject'>);
}

/** A message of an established subscription has RETAIN 0 [MQTT-3.3.1-9]. */
function asQueued(packet: StoredPacket): StoredPacket {
  return packet.retain === true ? { ...packet, retain: false } : packet;
}

function addBounded(numbers: Set<number>, number: number): void {
  numbers.add(number);
  if (numbers.size > IN_DELIVERY_MAX) numbers.delete(numbers.values().next().value as number);
}

/** The server's own retained messages have an owner. Messages without one could not be deleted with their identity. */
function serverOwner(topic: string): string | undefined {
  return isServerTopic(topic) ? SERVER_OWNER : undefined;
}
