/**
 * What aedes keeps between connections, under the access rules: a refused filter is never stored, a message is queued
 * only for those who may receive it, and each thing kept knows its owner, so that a revocation can purge it. How it is
 * kept, and when it is on disk, is the business of `broker/session-store/`.
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

/** A client that is connected now. */
export interface ConnectedClient {
  readonly owner: string;
  readonly subject: Subject;
  readonly isEnded: boolean;
  /** What it was granted. */
  readonly filters: { has(filter: string): boolean };
}

/** Messages kept and not yet passed on by aedes; more than that many were lost on the way with their connections. */
const IN_DELIVERY_MAX = 10_000;

const NO_SUBSCRIPTIONS = Promise.resolve<StoredSubscription[]>([]);
const NOTHING = Promise.resolve();
const NO_RECEIVERS: readonly QueueReceiver[] = [];
const EMPTY = Buffer.alloc(0);

export class AedesPersistence {
  readonly inboundQos2: InboundQos2;
  readonly persistentSessions: PersistentSessions;
  readonly #memory: SessionStore;
  readonly #limits: BrokerLimits;
  readonly #retained: RetainedOwners;
  readonly #live: (clientId: string) => ConnectedClient | undefined;
  readonly #overBound: (owner: string, bytes: number) => void;
  /** Numbers of messages that were kept before aedes publishes them. */
  readonly #storedBeforePublish = new Set<number>();
  /** Numbers of messages that are queued, and not yet handed to those who are here. */
  readonly #inDelivery = new Set<number>();

  /** `overBound` is told of an owner that would retain more than `mqtt.limits` let one have. */
  constructor(
    memory: SessionStore,
    limits: BrokerLimits,
    live: (clientId: string) => ConnectedClient | undefined,
    overBound: (owner: string, bytes: number) => void,
  ) {
    this.#overBound = overBound;
    this.#memory = memory;
    this.inboundQos2 = new InboundQos2(memory);
    this.persistentSessions = new PersistentSessions(memory);
    this.#limits = limits;
    this.#retained = new RetainedOwners(limits);
    this.#live = live;
  }

  /** Takes over what an earlier run kept; before `setup`. Who can't be read again is forgotten. */
  async load(rightsOf: (subject: Subject) => Promise<Rights>, now: number): Promise<void> {
    await this.persistentSessions.load(rightsOf, now);
    for (const { topic, owner, bytes } of this.#memory.retainedOwners()) {
      if (owner !== undefined) this.#retained.set(topic, owner, bytes);
    }
  }

  get retainedCount(): number {
    return this.#memory.retainedCount;
  }

  /** Changes whenever an answer of `wants` may. */
  get generation(): number {
    return this.#memory.filters.generation;
  }

  /** Whether a stored subscription of QoS 1 or 2 matches a topic: such a message must be kept before it is acknowledged. */
  hasStoredSubscription(topic: string): boolean {
    return this.#memory.filters.hasMatch(topic);
  }

  /** Everyone who left something: to be asked for again after a restart. */
  owners(): ReadonlySet<string> {
    return new Set([
      ...this.persistentSessions.owners(),
      ...this.#retained.owners(),
      ...this.pendingWills().map(({ owner }) => owner),
    ]);
  }

  /** Whether an owner may retain a message: within its own bounds, and its share of all that is kept. A no is told and counted. */
  mayRetain(packet: StoredPacket, owner: string): boolean {
    const { topic, payload } = packet;
    if (!this.#retained.hasRoom(topic, owner, payload.length)) {
      this.#overBound(owner, payload.length);
      return false;
    }
    if (this.#memory.mayRetain(packet, owner)) return true;
    this.#memory.recordRefusedRetain(packet, owner);
    return false;
  }

  /**
   * Keeps a message for those who will come for it, before it is acknowledged: aedes does so after that. Resolves when
   * it is on disk; undefined when nobody will come. aedes publishes the same packet later, and finds it kept. Rejects when it
   * is for sessions whose clients are away, and none of them has room: nobody would ever have it. `isStored`: it is in the
   * journal too.
   */
  storeBeforePublish(packet: StoredPacket, { isStored }: { readonly isStored: boolean }): Promise<void> | undefined {
    const receivers = this.#receivers(this.#memory.filters.matching(packet.topic), packet.topic);
    if (receivers.length === 0 && packet.retain !== true) return undefined;
    const { broker } = this.#memory;
    if (broker === undefined) throw new Error('expected an engine, found none');
    broker.counter += 1;
    packet.brokerId = broker.id;
    packet.brokerCounter = broker.counter;
    const retained = packet.retain === true ? this.storeRetained(packet) : NOTHING;
    const isOnlyQueued = !isStored && packet.retain !== true && receivers.length > 0;
    const hasNobodyHere =
      isOnlyQueued && !receivers.some(({ clientId }) => this.persistentSessions.isConnected(clientId));
    const queued = hasNobodyHere
      ? this.#memory.enqueueForSome(receivers, asQueued(packet))
      : this.#memory.outgoingEnqueueCombi(receivers, asQueued(packet));
    addBounded(this.#storedBeforePublish, broker.counter);
    if (receivers.length > 0) addBounded(this.#inDelivery, broker.counter);
    return Promise.all([retained, queued]).then(() => {});
  }

  /** Forgets everything that an identity left: sessions, queues, wills, retained messages; resolves when it is on disk. */
  async purge(owner: string): Promise<void> {
    this.persistentSessions.purge(owner);
    for (const topic of this.#retained.topicsOf(owner)) {
      this.#retained.delete(topic);
      await this.#memory.storeRetained({ topic, payload: EMPTY });
    }
    await this.dropPendingWills(owner);
    await this.#memory.durable();
  }

  /** Of connections that ended with an earlier run of the server: they won't be published. */
  async dropPendingWills(owner: string): Promise<void> {
    for (const will of this.pendingWills()) if (will.owner === owner) await this.#memory.delWill({ id: will.clientId });
  }

  /** Forgets sessions whose clients have been away for too long; some at a time. */
  sweep(now: number): void {
    this.persistentSessions.sweep(now, this.#limits.sessionExpiry);
  }

  /** Wills of connections that ended with an earlier run of the server. */
  pendingWills(): readonly PendingWill[] {
    return this.#memory.pendingWills().flatMap((will) => {
      const about = aboutWill(will);
      return about === undefined ? [] : [{ clientId: will.clientId, packet: will.packet, ...about }];
    });
  }

  pendingWill(clientId: string): PendingWill | undefined {
    const will = this.#memory.pendingWill(clientId);
    const about = will && aboutWill(will);
    return will && about && { clientId, packet: will.packet, ...about };
  }

  /** Retains the will of a client that isn't here. Resolves when it is on disk. */
  async retainPendingWill({ owner, packet }: PendingWill): Promise<void> {
    const { topic, payload, qos = 0 } = packet;
    if (!this.mayRetain({ topic, payload }, owner)) return;
    this.#retained.delete(topic);
    if (payload.length > 0) this.#retained.set(topic, owner, payload.length);
    await this.#memory.storeRetained({ cmd: 'publish', topic, payload, qos, retain: true }, owner);
    await this.#memory.durable();
  }

  /** Each client once, however many of its filters match, by the one with the highest QoS [MQTT-3.3.5-1]. */
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

  // What aedes calls.

  async setup(broker: unknown): Promise<void> {
    await this.#memory.setup(broker);
  }

  storeRetained(packet: StoredPacket): Promise<void> {
    const { topic, clientId, payload, brokerCounter } = packet;
    if (brokerCounter !== undefined && this.#storedBeforePublish.has(brokerCounter)) return NOTHING;
    const owner = clientId === undefined ? serverOwner(topic) : this.#live(clientId)?.owner;
    if (payload.length > 0 && owner === undefined) return NOTHING; // nobody could purge it
    if (owner !== undefined && !this.#memory.mayRetain(packet, owner)) return this.#memory.storeRetained(packet, owner);
    this.#retained.delete(topic);
    if (payload.length === 0 || owner === undefined) return this.#memory.storeRetained(packet);
    this.#retained.set(topic, owner, payload.length);
    return this.#memory.storeRetained(packet, owner);
  }

  createRetainedStream(pattern: string): Readable {
    return this.#memory.createRetainedStream(pattern);
  }

  createRetainedStreamCombi(patterns: readonly string[]): Readable {
    return this.#memory.createRetainedStreamCombi(patterns);
  }

  /** Stores what its owner may have and was granted, whatever it is handed: aedes hands over the rest of a packet too. */
  async addSubscriptions(
    client: ClientKey,
    subscriptions: readonly { readonly topic: string; readonly qos: number }[],
  ): Promise<void> {
    const rights = this.persistentSessions.rightsOf(client.id);
    const filters = this.#live(client.id)?.filters;
    const granted = subscriptions.filter(({ topic }) => filters?.has(topic) && rights?.maySubscribe(topic).allowed);
    if (granted.length > 0) await this.#memory.addSubscriptions(client, granted);
  }

  removeSubscriptions(client: ClientKey, topics: readonly string[]): Promise<void> {
    return this.#memory.removeSubscriptions(client, topics);
  }

  subscriptionsByClient(client: ClientKey): Promise<unknown[]> {
    return this.#memory.subscriptionsByClient(client);
  }

  subscriptionsByTopic(topic: string): Promise<StoredSubscription[]> {
    return this.persistentSessions.size === 0 ? NO_SUBSCRIPTIONS : this.#memory.subscriptionsByTopic(topic);
  }

  /** Called with every clean CONNECT, when `arrived` has forgotten everything. */
  cleanSubscriptions(client: ClientKey): Promise<void> {
    return this.persistentSessions.has(client.id) ? this.#memory.cleanSubscriptions(client) : NOTHING;
  }

  countOffline(): Promise<unknown> {
    return this.#memory.countOffline();
  }

  outgoingEnqueue(subscription: { readonly clientId: string }, packet: StoredPacket): Promise<void> {
    return this.outgoingEnqueueCombi([{ topic: packet.topic, qos: 1, clientId: subscription.clientId }], packet);
  }

  /** Queues for those who may receive it. */
  outgoingEnqueueCombi(subscriptions: readonly StoredSubscription[], packet: StoredPacket): Promise<void> {
    const { brokerCounter } = packet;
    if (brokerCounter !== undefined && this.#storedBeforePublish.delete(brokerCounter)) {
      if (this.#inDelivery.has(brokerCounter)) this.#deliveredKeys(brokerCounter);
      return NOTHING;
    }
    const receivers = this.#receivers(subscriptions, packet.topic);
    if (receivers.length === 0) return NOTHING;
    const queued = this.#memory.outgoingEnqueueCombi(receivers, asQueued(packet));
    if (brokerCounter === undefined) return queued;
    addBounded(this.#inDelivery, brokerCounter);
    return queued.finally(() => this.#deliveredKeys(brokerCounter));
  }

  /** A message that found no room is delivered all the same while its reader is here; aedes would close the reader. */
  outgoingUpdate(client: ClientKey, packet: StoredPacket): Promise<void> {
    // Published with more than this client was granted, it was not queued for it; unless the grant is newer than the message.
    if (packet.qos === 0 && !this.#memory.isUnsent(client.id, packet)) return NOTHING;
    return this.#memory.outgoingUpdate(client, packet).catch(() => {});
  }

  async outgoingClearMessageId(client: ClientKey, packet: StoredPacket): Promise<StoredPacket | undefined> {
    // aedes asks for it with messages that were never sent as well; that would remove another message.
    if (packet.messageId === undefined) return undefined;
    // And with those that it could not send again, since their client is gone or reads nothing: they are not acknowledged.
    const isSentAgain = packet.cmd === 'publish';
    if (isSentAgain && this.persistentSessions.rightsOf(client.id)?.mayReceive(packet.topic).allowed) return undefined;
    return this.#memory.outgoingClearMessageId(client, packet);
  }

  /**
   * What was sent already and not acknowledged, to be sent again before anything else [MQTT-4.4.0-1]; the rest is
   * replayed when CONNECT is done. aedes puts it at the head of a pipeline.
   */
  outgoingStream(client: ClientKey): Iterable<StoredPacket> {
    if (this.#memory.queuedCount(client.id) === 0) return [];
    return this.#memory
      .queuedPackets(client.id)
      .filter((packet) => packet.messageId !== undefined)
      .map((packet) => (packet.cmd === 'pubrel' ? packet : { ...packet, dup: true })); // [MQTT-3.3.1-1]
  }

  isInDelivery({ brokerCounter }: StoredPacket): boolean {
    return brokerCounter !== undefined && this.#inDelivery.has(brokerCounter);
  }

  /** aedes hands it over as soon as it hears that it is queued. */
  #deliveredKeys(brokerCounter: number): void {
    setImmediate(() => this.#inDelivery.delete(brokerCounter));
  }

  nextUnsent(clientId: string): StoredPacket | undefined {
    return this.#memory.nextUnsent(clientId);
  }

  isUnsent(clientId: string, packet: StoredPacket): boolean {
    return this.#memory.isUnsent(clientId, packet);
  }

  dropUnsent(clientId: string, packet: StoredPacket): void {
    this.#memory.dropUnsent(clientId, packet);
  }

  /** In one commit with what the message leaves in queues: sent again, it must be neither lost nor queued twice. */
  incomingStorePacket(client: InboundQos2Client, packet: StoredPacket): Promise<void> {
    const kept =
      (packet as KeyedPacket).isRepeated === true
        ? undefined
        : this.storeBeforePublish(packet, { isStored: (packet as KeyedPacket).isInJournal === true });
    const isOver = client.clean !== true && !this.persistentSessions.has(client.id);
    const stored = isOver ? NOTHING : this.inboundQos2.markReceived(client, packet);
    return kept === undefined ? stored : Promise.all([kept, stored]).then(() => {});
  }

  incomingGetPacket(client: ClientKey, packet: StoredPacket): Promise<StoredPacket> {
    return this.inboundQos2.find(client, packet);
  }

  incomingDelPacket(client: ClientKey, packet: { readonly messageId?: number | undefined }): Promise<void> {
    return this.#memory.incomingDelPacket(client, packet);
  }

  cleanIncoming(client: ClientKey): Promise<void> {
    return this.#memory.cleanIncoming(client);
  }

  putWill(client: ClientKey, packet: WillPacket): Promise<void> {
    const live = this.#live(client.id);
    const about = live && JSON.stringify({ owner: live.owner, subject: live.subject });
    return this.#memory.putWill(client, packet, about);
  }

  getWill(client: ClientKey): Promise<unknown> {
    return this.#memory.getWill(client);
  }

  /** aedes asks for it too when a connection was replaced; the will that is stored then is of the one that replaced it. */
  delWill(client: ClientKey & { readonly brokerId?: string }): Promise<unknown> {
    const isOfClosed = client.brokerId !== undefined;
    return isOfClosed && this.#live(client.id)?.isEnded === false ? NOTHING : this.#memory.delWill(client);
  }

  /** Wills of an earlier run are published by `left-wills.ts`; those of this one belong to its connections. */
  streamWill(): Iterable<never> {
    return [];
  }

  getClientList(topic: string): Readable {
    return this.#memory.getClientList(topic);
  }

  destroy(): Promise<void> {
    return NOTHING;
  }
}

function aboutWill({ about }: StoredWill): Pick<PendingWill, 'owner' | 'subject'> | undefined {
  return about === undefined ? undefined : (JSON.parse(about) as Pick<PendingWill, 'owner' | 'subject'>);
}

/** RETAIN is for who subscribes anew; a message that comes by an established subscription has it not [MQTT-3.3.1-9]. */
function asQueued(packet: StoredPacket): StoredPacket {
  return packet.retain === true ? { ...packet, retain: false } : packet;
}

function addBounded(numbers: Set<number>, number: number): void {
  numbers.add(number);
  if (numbers.size > IN_DELIVERY_MAX) numbers.delete(numbers.values().next().value as number);
}

/** What the server retains itself stays until the server removes it; what comes from nobody could never be purged. */
function serverOwner(topic: string): string | undefined {
  return isServerTopic(topic) ? SERVER_OWNER : undefined;
}
