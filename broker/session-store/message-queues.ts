/**
 * The queues of all sessions. Limits each by number and bytes (the newest message replaces the oldest unsent one), and the stored
 * ones by the share of their owner in the pool (the newest message is refused). QoS 0 is never queued.
 */

import type { Message } from '../mqtt/message.ts';
import type { Qos } from '../mqtt/packets.ts';
import type { MemoryPool } from './memory-pool.ts';
import type { MessageBodies, MessageBody } from './message-bodies.ts';
import { MessageQueue } from './message-queue.ts';
import type { QueuedMessage } from './outgoing-queue.ts';
import { QueueEntry } from './queue-entry.ts';
import { ENTRY_WEIGHT, type QueueStorage } from './queue-storage.ts';
import type { SessionRows } from './session-rows.ts';
import { messageBytes, messageWeight } from './stored-message.ts';
import { ownProperties } from './stored-properties.ts';

export interface QueueLimits {
  /** Messages, and bytes of payload and properties, in the queue of one client. */
  readonly queuedMessages: number;
  readonly queuedBytes: number;
}

export interface QueueCounts {
  /** Messages not queued, or removed from a queue before delivery, for want of room. */
  dropped: number;
  /** Messages that expired in a queue. */
  expired: number;
}

export interface QueueReceiver {
  readonly clientId: string;
  /** The owner whose share a stored queue counts against. */
  readonly owner: string;
  /** The QoS of its subscription; the message is sent with at most its own. */
  readonly qos: Qos;
  /** RETAIN as the message is sent to it. */
  readonly retain: boolean;
  readonly subscriptionIdentifiers: readonly number[] | undefined;
  readonly share: string | undefined;
  /** A connected client gets a message also when it can't be stored for it. */
  readonly isConnected: boolean;
}

/** Expired messages removed per sweep, about: each causes two changes to be written. */
const EXPIRED_PER_SWEEP = 10_000;

const NO_MESSAGES: readonly QueuedMessage[] = [];

export class MessageQueues {
  readonly #limits: QueueLimits;
  readonly #counts: QueueCounts;
  readonly #pool: MemoryPool;
  readonly #bodies: MessageBodies;
  readonly #storage: QueueStorage;
  /** The owner of each session on disk. */
  readonly #owners: ReadonlyMap<string, string>;
  readonly #now: () => number;
  readonly #queues = new Map<string, MessageQueue>();
  /** The last message that was copied, and its copy: a message is queued for one connected client after the other. */
  #copied: Message | undefined;
  #copy: Message | undefined;

  constructor(
    limits: QueueLimits,
    counts: QueueCounts,
    pool: MemoryPool,
    bodies: MessageBodies,
    storage: QueueStorage,
    owners: ReadonlyMap<string, string>,
    now: () => number,
  ) {
    this.#limits = limits;
    this.#counts = counts;
    this.#pool = pool;
    this.#bodies = bodies;
    this.#storage = storage;
    this.#owners = owners;
    this.#now = now;
  }

  /** The queue of a client; a new one is stored or not, as said. */
  of(clientId: string, isStored: boolean): MessageQueue {
    const known = this.#queues.get(clientId);
    if (known !== undefined) return known;
    const queue = this.#create(this.#owners.get(clientId) ?? clientId, isStored);
    this.#queues.set(clientId, queue);
    return queue;
  }

  find(clientId: string): MessageQueue | undefined {
    return this.#queues.get(clientId);
  }

  /** Returns the clients that it was queued for. */
  add(receivers: readonly QueueReceiver[], message: Message): readonly string[] {
    const queued: string[] = [];
    const bytes = messageBytes(message);
    const weight = messageWeight(message.topic, bytes) + ENTRY_WEIGHT;
    let body: MessageBody | undefined;
    for (const receiver of receivers) {
      if (receiver.qos === 0 || message.qos === 0) continue;
      const { clientId, owner } = receiver;
      const queue = this.#queues.get(clientId) ?? this.#create(owner, this.#owners.has(clientId));
      const place = this.#place(queue, bytes, weight, receiver.isConnected);
      if (place === 'none') continue;
      const delivery = receiver.qos <= message.qos ? receiver : { ...receiver, qos: message.qos };
      if (place === 'disk') {
        body ??= this.#addBody(message);
        queue.append(this.#storage.add(clientId, queue.owner, body, delivery));
      } else {
        // Beyond its bytes a queue forgets a message when it is sent: no other member gets it then, and no more of it is in memory.
        const isForgotten = receiver.share !== undefined && queue.bytes + bytes > this.#limits.queuedBytes;
        const inMemory = isForgotten ? { ...delivery, share: undefined } : delivery;
        queue.append(new QueueEntry(0, this.#copyOf(message), undefined, inMemory));
      }
      this.#queues.set(clientId, queue);
      queued.push(clientId);
    }
    return queued;
  }

  /**
   * Removes and returns the messages of shared subscriptions that another member may get instead: those of QoS 1 that were not
   * acknowledged, and those of QoS 2 that were not sent (MQTT 5, 4.8.2).
   */
  takeShared(clientId: string, takes: (queued: QueuedMessage) => boolean): readonly QueuedMessage[] {
    const queue = this.#queues.get(clientId);
    if (queue === undefined || queue.size === 0) return NO_MESSAGES;
    const taken: QueuedMessage[] = [];
    for (const entry of queue.entries()) {
      if (entry.share === undefined || (entry.qos === 2 && !entry.isUnsent) || !takes(entry)) continue;
      queue.remove(entry);
      taken.push(entry);
    }
    return taken;
  }

  /** The client has disconnected: what is in memory only is dropped. */
  disconnected(clientId: string): void {
    const queue = this.#queues.get(clientId);
    if (queue === undefined) return;
    for (const entry of queue.entries()) {
      if (entry.id > 0) continue;
      queue.remove(entry);
      this.#counts.dropped += 1;
    }
    if (queue.size === 0) this.#queues.delete(clientId);
  }

  clear(clientId: string): void {
    const queue = this.#queues.get(clientId);
    if (queue === undefined) return;
    for (const entry of queue.entries()) queue.remove(entry);
    this.#queues.delete(clientId);
  }

  /** Removes expired messages, a limited number per call. */
  sweep(now: number): void {
    const most = this.#counts.expired + EXPIRED_PER_SWEEP;
    for (const queue of this.#queues.values()) {
      if (this.#counts.expired >= most) return;
      this.#dropExpired(queue, now);
    }
  }

  /** Rows that belong to no session or have no message are removed. */
  load({ bodies, queued }: SessionRows, numberOf: () => number): void {
    const known = this.#bodies.load(bodies, numberOf);
    for (const row of queued) {
      const body = row.body === null ? undefined : known.get(row.body);
      const isWhole = row.body === null ? row.packet_id !== null : body !== undefined;
      if (!isWhole || !this.#owners.has(row.client_id)) {
        this.#storage.dropRow(row.id);
        continue;
      }
      const queue = this.of(row.client_id, true);
      queue.append(this.#storage.load(row, queue.owner, body));
    }
    this.#bodies.dropUnused(known.values());
  }

  #addBody(message: Message): MessageBody {
    const body = this.#bodies.add(message);
    this.#copied = message;
    this.#copy = body.message;
    return body;
  }

  #copyOf(message: Message): Message {
    if (this.#copied === message && this.#copy !== undefined) return this.#copy;
    this.#copied = message;
    this.#copy = copyInMemory(message);
    return this.#copy;
  }

  #create(owner: string, isStored: boolean): MessageQueue {
    return new MessageQueue(owner, isStored ? this.#storage : undefined);
  }

  /**
   * Makes room for a message, and says where it is queued. What a connected client was sent and has not acknowledged does not count
   * against the limits: beyond them a message is in memory only.
   */
  #place(queue: MessageQueue, bytes: number, weight: number, isConnected: boolean): 'disk' | 'memory' | 'none' {
    if (queue.earliestExpiry !== Number.POSITIVE_INFINITY) this.#dropExpired(queue, this.#now());
    if (bytes > this.#limits.queuedBytes || !this.#makeRoom(queue, bytes, isConnected)) {
      this.#counts.dropped += 1;
      return 'none';
    }
    if (queue.storage === undefined || this.#isFull(queue.size, queue.bytes + bytes)) return 'memory';
    if (this.#pool.hasRoom('queued', queue.owner, weight)) return 'disk';
    this.#pool.recordRefusal('queued', queue.owner, weight);
    if (isConnected) return 'memory';
    this.#counts.dropped += 1;
    return 'none';
  }

  /** The newest message replaces the oldest unsent ones. A sent one stays: it would be sent again under another identifier. */
  #makeRoom(queue: MessageQueue, bytes: number, isConnected: boolean): boolean {
    const isFull = () =>
      isConnected
        ? this.#isFull(queue.unsentCount, queue.unsentBytes + bytes)
        : this.#isFull(queue.size, queue.bytes + bytes);
    while (isFull()) {
      const oldest = queue.nextUnsent();
      if (oldest === undefined) return isConnected;
      queue.remove(oldest);
      this.#counts.dropped += 1;
    }
    return true;
  }

  #isFull(messages: number, bytes: number): boolean {
    return messages >= this.#limits.queuedMessages || bytes > this.#limits.queuedBytes;
  }

  #dropExpired(queue: MessageQueue, now: number): void {
    if (queue.earliestExpiry <= now) this.#counts.expired += queue.dropExpired(now);
  }
}

/** It lives for one delivery only, so its payload may be in memory that Node shares between small buffers. */
function copyInMemory(message: Message): Message {
  const { payload } = message;
  const own = payload.length === payload.buffer.byteLength ? payload : Buffer.from(payload);
  return { ...message, payload: own, properties: ownProperties(message.properties) };
}
