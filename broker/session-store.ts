/**
 * What aedes keeps between connections: subscriptions, queued messages, open QoS 2 handshakes, retained messages, wills.
 * In memory, bounded, and under the ACL: a refused filter is never stored, and a message is queued only for those who
 * may receive it. Each entry knows its owner, so that a revocation can purge it.
 */

import { Readable } from 'node:stream';
import memory from 'aedes-persistence';
import type { Rights, Subject } from './acl.ts';
import type { Counters } from './counters.ts';
import type { BrokerLimits } from './limits.ts';

interface StoredPacket {
  readonly topic: string;
  payload: Buffer;
  readonly clientId?: string;
  messageId?: number | undefined;
  readonly cmd?: string;
}

interface StoredSubscription {
  readonly topic: string;
  readonly qos: number;
  readonly clientId?: string;
}

interface ClientKey {
  readonly id: string;
}

/** The promise side of an aedes persistence. */
interface Memory {
  setup(broker: unknown): Promise<void>;
  storeRetained(packet: unknown): Promise<void>;
  createRetainedStream(pattern: string): Readable;
  createRetainedStreamCombi(patterns: readonly string[]): Readable;
  addSubscriptions(client: ClientKey, subscriptions: readonly StoredSubscription[]): Promise<void>;
  removeSubscriptions(client: ClientKey, topics: readonly string[]): Promise<void>;
  subscriptionsByClient(client: ClientKey): Promise<StoredSubscription[]>;
  subscriptionsByTopic(topic: string): Promise<StoredSubscription[]>;
  cleanSubscriptions(client: ClientKey): Promise<void>;
  countOffline(): Promise<unknown>;
  outgoingEnqueueCombi(subscriptions: readonly StoredSubscription[], packet: StoredPacket): Promise<void>;
  outgoingUpdate(client: ClientKey, packet: StoredPacket): Promise<void>;
  outgoingClearMessageId(client: ClientKey, packet: unknown): Promise<StoredPacket | undefined>;
  outgoingStream(client: ClientKey): Readable;
  incomingStorePacket(client: ClientKey, packet: StoredPacket): Promise<void>;
  incomingGetPacket(client: ClientKey, packet: unknown): Promise<StoredPacket>;
  incomingDelPacket(client: ClientKey, packet: unknown): Promise<void>;
  cleanIncoming(client: ClientKey): Promise<void>;
  putWill(client: ClientKey, packet: unknown): Promise<void>;
  getWill(client: ClientKey): Promise<unknown>;
  delWill(client: ClientKey): Promise<unknown>;
  destroy(): Promise<void>;
}

/** A session that outlives its connections (MQTT clean session 0). */
interface KeptSession {
  readonly owner: string;
  readonly subject: Subject;
  rights: Rights;
  /** Undefined while it is connected. */
  awaySince: number | undefined;
  queuedMessages: number;
  queuedBytes: number;
}

// Its types describe the callbacks of an older major version.
const createMemory = memory as unknown as () => Memory;

const NOBODY: StoredSubscription[] = [];

export class SessionStore {
  readonly #memory = createMemory();
  readonly #limits: BrokerLimits;
  readonly #counters: Counters;
  readonly #kept = new Map<string, KeptSession>();
  /** Retained topic -> owner. */
  readonly #retained = new Map<string, string>();
  readonly #retainedBy = new Map<string, number>();
  readonly #ownerOfLive: (clientId: string) => string | undefined;

  constructor(limits: BrokerLimits, counters: Counters, ownerOfLive: (clientId: string) => string | undefined) {
    this.#limits = limits;
    this.#counters = counters;
    this.#ownerOfLive = ownerOfLive;
  }

  /** A client has connected; what it leaves behind is kept unless it asked for a clean session. */
  arrived(clientId: string, owner: string, subject: Subject, rights: Rights, clean: boolean): void {
    const known = this.#kept.get(clientId);
    if (clean) this.#kept.delete(clientId);
    else if (known?.owner === owner) {
      known.rights = rights;
      known.awaySince = undefined;
    } else {
      this.#kept.set(clientId, { owner, subject, rights, awaySince: undefined, queuedMessages: 0, queuedBytes: 0 });
    }
  }

  left(clientId: string, now: number): void {
    const kept = this.#kept.get(clientId);
    if (kept !== undefined) kept.awaySince = now;
  }

  /** Sessions whose rights have to be compiled again after a change of policy. */
  *keptSessions(): Iterable<{ readonly clientId: string; readonly subject: Subject; setRights(rights: Rights): void }> {
    for (const [clientId, kept] of this.#kept) {
      yield {
        clientId,
        subject: kept.subject,
        setRights: (rights) => {
          kept.rights = rights;
        },
      };
    }
  }

  get keptCount(): number {
    return this.#kept.size;
  }

  get retainedCount(): number {
    return this.#retained.size;
  }

  /** Whether an owner may keep one more retained topic. */
  hasRoomToRetain(topic: string, owner: string): boolean {
    return this.#retained.get(topic) === owner || (this.#retainedBy.get(owner) ?? 0) < this.#limits.retained;
  }

  /** Forgets everything that an identity left: sessions, queues, wills, retained messages. */
  async purge(owner: string): Promise<void> {
    for (const [clientId, kept] of [...this.#kept]) {
      if (kept.owner === owner) await this.#forget(clientId);
    }
    for (const [topic, author] of [...this.#retained]) {
      if (author === owner) await this.storeRetained({ topic, payload: Buffer.alloc(0) });
    }
  }

  /** Forgets sessions whose clients have been away for too long. */
  async sweep(now: number): Promise<void> {
    for (const [clientId, { awaySince }] of [...this.#kept]) {
      if (awaySince !== undefined && now - awaySince > this.#limits.sessionExpiry) await this.#forget(clientId);
    }
  }

  async #forget(clientId: string): Promise<void> {
    const client = { id: clientId };
    this.#kept.delete(clientId);
    await this.#memory.cleanSubscriptions(client);
    await this.#memory.cleanIncoming(client);
    await this.#memory.delWill(client);
    for await (const packet of this.#memory.outgoingStream(client)) {
      await this.#memory.outgoingClearMessageId(client, packet);
    }
  }

  // What aedes calls.

  async setup(broker: unknown): Promise<void> {
    await this.#memory.setup(broker);
  }

  storeRetained(packet: StoredPacket): Promise<void> {
    const { topic, clientId } = packet;
    const before = this.#retained.get(topic);
    if (before !== undefined) this.#countRetained(before, -1);
    if (packet.payload.length === 0) this.#retained.delete(topic);
    else {
      const owner = (clientId === undefined ? undefined : this.#ownerOfLive(clientId)) ?? '';
      this.#retained.set(topic, owner);
      this.#countRetained(owner, 1);
    }
    // A slice would keep the whole chunk that it was read with.
    return this.#memory.storeRetained({ ...packet, payload: Buffer.from(packet.payload) });
  }

  #countRetained(owner: string, change: 1 | -1): void {
    const count = (this.#retainedBy.get(owner) ?? 0) + change;
    if (count > 0) this.#retainedBy.set(owner, count);
    else this.#retainedBy.delete(owner);
  }

  createRetainedStream(pattern: string): Readable {
    return this.#memory.createRetainedStream(pattern);
  }

  createRetainedStreamCombi(patterns: readonly string[]): Readable {
    return this.#memory.createRetainedStreamCombi(patterns);
  }

  /** aedes hands over all filters of a packet, also those that were refused. */
  async addSubscriptions(client: ClientKey, subscriptions: readonly StoredSubscription[]): Promise<void> {
    const rights = this.#kept.get(client.id)?.rights;
    const granted = subscriptions.filter((subscription) => rights?.maySubscribe(subscription.topic).allowed);
    if (granted.length > 0) await this.#memory.addSubscriptions(client, granted);
  }

  removeSubscriptions(client: ClientKey, topics: readonly string[]): Promise<void> {
    return this.#memory.removeSubscriptions(client, topics);
  }

  subscriptionsByClient(client: ClientKey): Promise<StoredSubscription[]> {
    return this.#memory.subscriptionsByClient(client);
  }

  subscriptionsByTopic(topic: string): Promise<StoredSubscription[]> {
    return this.#kept.size === 0 ? Promise.resolve(NOBODY) : this.#memory.subscriptionsByTopic(topic);
  }

  cleanSubscriptions(client: ClientKey): Promise<void> {
    return this.#memory.cleanSubscriptions(client);
  }

  countOffline(): Promise<unknown> {
    return this.#memory.countOffline();
  }

  outgoingEnqueue(subscription: { readonly clientId: string }, packet: StoredPacket): Promise<void> {
    return this.outgoingEnqueueCombi([{ topic: packet.topic, qos: 1, clientId: subscription.clientId }], packet);
  }

  /** Queues for those who may receive it and have room; once per client, however many of its filters match. */
  outgoingEnqueueCombi(subscriptions: readonly StoredSubscription[], packet: StoredPacket): Promise<void> {
    if (subscriptions.length === 0) return Promise.resolve();
    const receivers = new Map<string, StoredSubscription>();
    for (const subscription of subscriptions) {
      const clientId = subscription.clientId as string;
      const kept = this.#kept.get(clientId);
      if (kept === undefined || receivers.has(clientId) || !kept.rights.mayReceive(packet.topic).allowed) continue;
      const bytes = packet.payload.length;
      if (kept.queuedMessages >= this.#limits.queuedMessages || kept.queuedBytes + bytes > this.#limits.queuedBytes) {
        this.#counters.messagesNotQueued += 1;
        continue;
      }
      kept.queuedMessages += 1;
      kept.queuedBytes += bytes;
      receivers.set(clientId, subscription);
    }
    if (receivers.size === 0) return Promise.resolve();
    const own = { ...packet, payload: Buffer.from(packet.payload) };
    return this.#memory.outgoingEnqueueCombi([...receivers.values()], own);
  }

  /** A message that found no room is delivered all the same while its reader is here; aedes would close the reader. */
  outgoingUpdate(client: ClientKey, packet: StoredPacket): Promise<void> {
    return this.#memory.outgoingUpdate(client, packet).catch(() => {});
  }

  async outgoingClearMessageId(client: ClientKey, packet: StoredPacket): Promise<StoredPacket | undefined> {
    // aedes asks for it with messages that were never sent as well; that would remove another message.
    if (packet.messageId === undefined) return undefined;
    const cleared = await this.#memory.outgoingClearMessageId(client, packet);
    const kept = this.#kept.get(client.id);
    if (kept !== undefined && cleared?.payload !== undefined) {
      kept.queuedMessages = Math.max(0, kept.queuedMessages - 1);
      kept.queuedBytes = Math.max(0, kept.queuedBytes - cleared.payload.length);
    }
    return cleared;
  }

  /** aedes puts it at the head of a pipeline, where an empty list costs a third of an empty stream. */
  outgoingStream(client: ClientKey): Iterable<StoredPacket> | Readable {
    const kept = this.#kept.get(client.id);
    return kept === undefined || kept.queuedMessages === 0 ? [] : this.#memory.outgoingStream(client);
  }

  incomingStorePacket(client: ClientKey, packet: StoredPacket): Promise<void> {
    return this.#memory.incomingStorePacket(client, packet);
  }

  incomingGetPacket(client: ClientKey, packet: StoredPacket): Promise<StoredPacket> {
    return this.#memory.incomingGetPacket(client, packet);
  }

  incomingDelPacket(client: ClientKey, packet: StoredPacket): Promise<void> {
    return this.#memory.incomingDelPacket(client, packet);
  }

  cleanIncoming(client: ClientKey): Promise<void> {
    return this.#memory.cleanIncoming(client);
  }

  putWill(client: ClientKey, packet: unknown): Promise<void> {
    return this.#memory.putWill(client, packet);
  }

  getWill(client: ClientKey): Promise<unknown> {
    return this.#memory.getWill(client);
  }

  delWill(client: ClientKey): Promise<unknown> {
    return this.#memory.delWill(client);
  }

  /** No will is published on behalf of another broker: a will belongs to a connection of this one. */
  streamWill(): Readable {
    return Readable.from([]);
  }

  getClientList(): Readable {
    return Readable.from([]);
  }

  destroy(): Promise<void> {
    return this.#memory.destroy();
  }
}
