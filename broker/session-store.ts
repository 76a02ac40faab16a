/**
 * What aedes keeps between connections: subscriptions, queued messages, open QoS 2 handshakes, retained messages, wills.
 * In memory, bounded, and under the ACL: a refused filter is never stored, and a message is queued only for those who
 * may receive it. Each entry knows its owner, so that a revocation can purge it.
 */

import { Readable } from 'node:stream';
import { isServerTopic } from '../contract/topics.ts';
import type { Rights, Subject } from './acl.ts';
import type { Counters } from './counters.ts';
import { type ClientKey, createEngineMemory, type StoredPacket, type StoredSubscription } from './engine-memory.ts';
import type { BrokerLimits } from './limits.ts';

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

interface Retained {
  readonly owner: string;
  readonly bytes: number;
}

/** Sessions kept per owner; a service may choose its client ids. The oldest gives way. */
const KEPT_PER_OWNER = 100;

const NOBODY = Promise.resolve<StoredSubscription[]>([]);
const NOTHING = Promise.resolve();

export class SessionStore {
  readonly #memory = createEngineMemory();
  readonly #limits: BrokerLimits;
  readonly #counters: Counters;
  readonly #kept = new Map<string, KeptSession>();
  readonly #keptBy = new Map<string, Set<string>>();
  readonly #retained = new Map<string, Retained>();
  readonly #retainedBy = new Map<string, { readonly topics: Set<string>; bytes: number }>();
  readonly #ownerOfLive: (clientId: string) => string | undefined;

  constructor(limits: BrokerLimits, counters: Counters, ownerOfLive: (clientId: string) => string | undefined) {
    this.#limits = limits;
    this.#counters = counters;
    this.#ownerOfLive = ownerOfLive;
  }

  /** A client has connected; what it leaves behind is kept unless it asked for a clean session. */
  arrived(clientId: string, owner: string, subject: Subject, rights: Rights, clean: boolean): void {
    const known = this.#kept.get(clientId);
    if (clean) {
      if (known !== undefined) this.#forget(clientId).catch(() => {}); // memory does not fail
    } else if (known !== undefined) {
      known.rights = rights;
      known.awaySince = undefined;
    } else {
      this.#kept.set(clientId, { owner, subject, rights, awaySince: undefined, queuedMessages: 0, queuedBytes: 0 });
      const own = this.#keptBy.get(owner) ?? new Set();
      this.#keptBy.set(owner, own.add(clientId));
      if (own.size > KEPT_PER_OWNER) this.#forgetOldest(own);
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

  /** Whether an owner may retain so many bytes under a topic. */
  hasRoomToRetain(topic: string, owner: string, bytes: number): boolean {
    if (bytes === 0) return true;
    const known = this.#retained.get(topic);
    const own = this.#retainedBy.get(owner) ?? { topics: new Set(), bytes: 0 };
    const isOwn = known?.owner === owner;
    return (
      (isOwn || own.topics.size < this.#limits.retained) &&
      own.bytes - (isOwn ? known.bytes : 0) + bytes <= this.#limits.queuedBytes
    );
  }

  /** Forgets everything that an identity left: sessions, queues, wills, retained messages. */
  async purge(owner: string): Promise<void> {
    for (const clientId of [...(this.#keptBy.get(owner) ?? [])]) await this.#forget(clientId);
    for (const topic of [...(this.#retainedBy.get(owner)?.topics ?? [])]) {
      await this.storeRetained({ topic, payload: Buffer.alloc(0) });
    }
  }

  /** Forgets sessions whose clients have been away for too long. */
  async sweep(now: number): Promise<void> {
    for (const [clientId, { awaySince }] of [...this.#kept]) {
      if (awaySince !== undefined && now - awaySince > this.#limits.sessionExpiry) await this.#forget(clientId);
    }
  }

  #forgetOldest(own: ReadonlySet<string>): void {
    for (const clientId of own) {
      if (this.#kept.get(clientId)?.awaySince === undefined) continue;
      this.#forget(clientId).catch(() => {}); // memory does not fail
      return;
    }
  }

  #letGo(clientId: string, kept: KeptSession): void {
    this.#kept.delete(clientId);
    const own = this.#keptBy.get(kept.owner);
    own?.delete(clientId);
    if (own?.size === 0) this.#keptBy.delete(kept.owner);
  }

  async #forget(clientId: string): Promise<void> {
    const client = { id: clientId };
    const kept = this.#kept.get(clientId);
    if (kept !== undefined) this.#letGo(clientId, kept);
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
    const { topic, clientId, payload } = packet;
    this.#dropRetained(topic);
    if (payload.length > 0) {
      const owner = clientId === undefined ? serverOwner(topic) : this.#ownerOfLive(clientId);
      if (owner === undefined) return Promise.resolve(); // nobody could purge it
      this.#retained.set(topic, { owner, bytes: payload.length });
      const own = this.#retainedBy.get(owner) ?? { topics: new Set(), bytes: 0 };
      own.topics.add(topic);
      own.bytes += payload.length;
      this.#retainedBy.set(owner, own);
    }
    // A slice would keep the whole chunk that it was read with.
    return this.#memory.storeRetained({ ...packet, payload: Buffer.from(payload) });
  }

  #dropRetained(topic: string): void {
    const known = this.#retained.get(topic);
    if (known === undefined) return;
    this.#retained.delete(topic);
    const own = this.#retainedBy.get(known.owner);
    if (own === undefined) return;
    own.topics.delete(topic);
    own.bytes -= known.bytes;
    if (own.topics.size === 0) this.#retainedBy.delete(known.owner);
  }

  createRetainedStream(pattern: string): Readable {
    return this.#memory.createRetainedStream(pattern);
  }

  createRetainedStreamCombi(patterns: readonly string[]): Readable {
    return this.#memory.createRetainedStreamCombi(patterns);
  }

  /** Stores what its owner may have, whatever it is handed. */
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
    return this.#kept.size === 0 ? NOBODY : this.#memory.subscriptionsByTopic(topic);
  }

  /** Called with every clean CONNECT. */
  cleanSubscriptions(client: ClientKey): Promise<void> {
    return this.#kept.has(client.id) ? this.#memory.cleanSubscriptions(client) : NOTHING;
  }

  countOffline(): Promise<unknown> {
    return this.#memory.countOffline();
  }

  outgoingEnqueue(subscription: { readonly clientId: string }, packet: StoredPacket): Promise<void> {
    return this.outgoingEnqueueCombi([{ topic: packet.topic, qos: 1, clientId: subscription.clientId }], packet);
  }

  /** Queues for those who may receive it and have room; once per client, however many of its filters match. */
  outgoingEnqueueCombi(subscriptions: readonly StoredSubscription[], packet: StoredPacket): Promise<void> {
    if (subscriptions.length === 0) return NOTHING;
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
    if (receivers.size === 0) return NOTHING;
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
    if (kept !== undefined && cleared !== undefined) {
      kept.queuedMessages = Math.max(0, kept.queuedMessages - 1);
      // Of a QoS 2 message only its PUBREL is left, without the payload.
      kept.queuedBytes = Math.max(0, kept.queuedBytes - (cleared.payload?.length ?? 0));
      if (kept.queuedMessages === 0) kept.queuedBytes = 0;
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

/** What the server retains itself stays until the server removes it; what comes from nobody could never be purged. */
function serverOwner(topic: string): string | undefined {
  return isServerTopic(topic) ? 'server' : undefined;
}
