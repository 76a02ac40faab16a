/**
 * Messages of QoS 1 and 2 for persistent sessions, in order: in memory, with every change passed to
 * the writer. Limited per client (the newest message replaces the oldest unsent one) and per owner by the pool
 * (the newest message is refused). A message for many clients is stored once. QoS 0 is never queued.
 */

import type { MemoryPool } from './memory-pool.ts';
import type { SessionChange } from './session-changes.ts';
import type { SessionRows } from './session-rows.ts';
import { ownPayload, payloadBytes, type StoredPacket, weightOf } from './stored-packets.ts';

export interface QueueLimits {
  /** Messages, and bytes of payload, in the queue of one client. */
  readonly queuedMessages: number;
  readonly queuedBytes: number;
}

export interface QueueCounters {
  /** Messages not queued, or removed from a queue before delivery, for want of room. */
  dropped: number;
}

export interface QueueReceiver {
  readonly clientId: string;
  /** The highest QoS that the message may be sent with; by default that of the message. */
  readonly qos?: number | undefined;
  /** The owner whose share it counts against; by default the client itself. */
  readonly owner?: string | undefined;
}

/** Bytes that a queue entry counts for, besides the message body. */
const ENTRY_WEIGHT = 100;

/** Only QoS 2 has PUBREL. */
const PUBREL_QOS = 2;

interface Body {
  readonly id: number;
  readonly packet: StoredPacket;
  readonly weight: number;
  references: number;
}

interface Entry {
  readonly id: number;
  body: Body;
  messageId: number | undefined;
  /** PUBREC was received: only PUBREL is left to be sent. */
  pubrel: StoredPacket | undefined;
}

class Queue {
  readonly owner: string;
  readonly entries = new Set<Entry>();
  bytes = 0;

  constructor(owner: string) {
    this.owner = owner;
  }
}

export class OutgoingQueues {
  readonly #limits: QueueLimits;
  readonly #counters: QueueCounters;
  readonly #pool: MemoryPool;
  readonly #change: (change: SessionChange, bytes: number) => void;
  readonly #queues = new Map<string, Queue>();
  /** Entries whose new packet identifier is not on disk yet. Most are acknowledged before that. */
  readonly #numbered = new Set<Entry>();
  #lastId = 0;

  constructor(
    limits: QueueLimits,
    counters: QueueCounters,
    pool: MemoryPool,
    change: (change: SessionChange, bytes: number) => void,
  ) {
    this.#limits = limits;
    this.#counters = counters;
    this.#pool = pool;
    this.#change = change;
  }

  /** Messages that are not sent, or sent and not acknowledged. */
  count(clientId: string): number {
    return this.#queues.get(clientId)?.entries.size ?? 0;
  }

  clients(): Iterable<string> {
    return this.#queues.keys();
  }

  /**
   * Queues a message for each receiver. It is stored once for all receivers with the same QoS. Returns for how many receivers it
   * was queued.
   */
  add(receivers: readonly QueueReceiver[], packet: StoredPacket): number {
    const bodies: (Body | undefined)[] = [];
    const published = packet.qos ?? 0;
    const share = weightOf(packet) + ENTRY_WEIGHT;
    let added = 0;
    for (const { clientId, qos: granted = published, owner = clientId } of receivers) {
      const queue = this.#queues.get(clientId) ?? new Queue(owner);
      const replaced = this.#replacedWeight(queue, packet.payload.length);
      if (!this.#pool.hasRoom('queued', queue.owner, share, replaced)) {
        this.#counters.dropped += 1;
        this.#pool.recordRefusal('queued', queue.owner, share);
        continue;
      }
      if (!this.#makeRoom(queue, packet.payload.length)) continue;
      const qos = Math.min(granted, published);
      bodies[qos] ??= this.#newBody({ ...packet, qos });
      this.#queues.set(clientId, queue);
      this.#append(queue, clientId, bodies[qos]);
      added += 1;
    }
    return added;
  }

  /**
   * Sets the packet identifier of a queued message, or replaces the message by PUBREL. Returns the QoS that it was queued with;
   * undefined when there is no such message.
   */
  update(clientId: string, packet: StoredPacket): number | undefined {
    const queue = this.#queues.get(clientId);
    if (queue === undefined) return undefined;
    for (const entry of queue.entries) {
      const own = entry.body.packet;
      const isSame =
        packet.cmd !== 'pubrel' &&
        own.brokerId === packet.brokerId &&
        own.brokerCounter === packet.brokerCounter &&
        entry.pubrel === undefined;
      if (isSame) {
        entry.messageId = packet.messageId;
        this.#numbered.add(entry);
        return own.qos;
      }
      const isRelease = packet.cmd === 'pubrel' && entry.messageId === packet.messageId;
      if (isRelease) {
        if (entry.pubrel === undefined) {
          this.#writeNumber(entry);
          this.#change({ name: 'releaseQueued', values: [entry.id] }, 0);
          this.#release(queue, entry.body);
          entry.body = RELEASED;
        }
        entry.pubrel = packet;
        return PUBREL_QOS;
      }
    }
    return undefined;
  }

  /** Removes the message of a packet identifier and returns it. */
  acknowledge(clientId: string, messageId: number | undefined): StoredPacket | undefined {
    const queue = this.#queues.get(clientId);
    for (const entry of queue?.entries ?? []) {
      if (entry.messageId !== messageId || messageId === undefined) continue;
      this.#remove(queue as Queue, entry);
      if (queue?.entries.size === 0) this.#queues.delete(clientId);
      return packetIn(entry);
    }
    return undefined;
  }

  /** A copy of the queue in order: PUBRELs, sent messages, unsent messages. */
  packets(clientId: string): StoredPacket[] {
    return [...(this.#queues.get(clientId)?.entries ?? [])].map(packetIn);
  }

  /** The oldest message that has no packet identifier yet. */
  nextUnsent(clientId: string): StoredPacket | undefined {
    for (const entry of this.#queues.get(clientId)?.entries ?? []) if (isUnsent(entry)) return packetIn(entry);
    return undefined;
  }

  isUnsent(clientId: string, packet: StoredPacket): boolean {
    return this.#findUnsent(clientId, packet) !== undefined;
  }

  dropUnsent(clientId: string, packet: StoredPacket): void {
    const entry = this.#findUnsent(clientId, packet);
    const queue = this.#queues.get(clientId);
    if (entry === undefined || queue === undefined) return;
    this.#remove(queue, entry);
    if (queue.entries.size === 0) this.#queues.delete(clientId);
  }

  #findUnsent(clientId: string, { brokerId, brokerCounter }: StoredPacket): Entry | undefined {
    for (const entry of this.#queues.get(clientId)?.entries ?? []) {
      const own = entry.body.packet;
      if (own.brokerCounter === brokerCounter && own.brokerId === brokerId && isUnsent(entry)) return entry;
    }
    return undefined;
  }

  clear(clientId: string): void {
    const queue = this.#queues.get(clientId);
    for (const entry of queue?.entries ?? []) this.#remove(queue as Queue, entry);
    this.#queues.delete(clientId);
  }

  /** Writes the packet identifiers that were set since the last call. */
  writePacketIds(): void {
    for (const entry of this.#numbered) {
      this.#change({ name: 'numberQueued', values: [entry.messageId ?? null, entry.id] }, 0);
    }
    this.#numbered.clear();
  }

  get hasNumbers(): boolean {
    return this.#numbered.size > 0;
  }

  /** Messages of an earlier run get message numbers of this run. */
  load({ sessions, bodies, queued }: SessionRows, broker: { readonly id: string; counter: number }): void {
    const known = new Map<number, Body>();
    const owners = new Map(sessions.map(({ client_id: clientId, owner }) => [clientId, owner]));
    for (const { id, topic, payload, qos, retain } of bodies) {
      broker.counter += 1;
      const own = { topic, payload, qos, retain: retain === 1, brokerId: broker.id, brokerCounter: broker.counter };
      known.set(id, this.#bodyOf(id, packetOf(own)));
      this.#lastId = Math.max(this.#lastId, id);
    }
    for (const row of queued) {
      this.#lastId = Math.max(this.#lastId, row.id);
      const body = row.body === null ? RELEASED : known.get(row.body);
      if (body === undefined) continue;
      const messageId = row.packet_id ?? undefined;
      const pubrel = body === RELEASED ? ({ cmd: 'pubrel', messageId } as StoredPacket) : undefined;
      const queue = this.#queues.get(row.client_id) ?? new Queue(owners.get(row.client_id) ?? row.client_id);
      this.#queues.set(row.client_id, queue);
      this.#take(queue, { id: row.id, body, messageId, pubrel });
    }
    for (const body of known.values()) {
      if (body.references === 0) this.#change({ name: 'dropBody', values: [body.id] }, 0);
    }
  }

  #isFull(queue: Queue, bytes: number): boolean {
    const { queuedMessages, queuedBytes } = this.#limits;
    return queue.entries.size >= queuedMessages || queue.bytes + bytes > queuedBytes;
  }

  /** The least that is removed when a message is added to a full queue. */
  #replacedWeight(queue: Queue, bytes: number): number {
    if (!this.#isFull(queue, bytes)) return 0;
    for (const entry of queue.entries) if (isUnsent(entry)) return entry.body.weight + ENTRY_WEIGHT;
    return 0;
  }

  #makeRoom(queue: Queue, bytes: number): boolean {
    const isFull = () => this.#isFull(queue, bytes);
    if (!isFull()) return true;
    if (bytes <= this.#limits.queuedBytes) {
      for (const entry of queue.entries) {
        // A sent message stays: it would be sent again under another packet identifier, or never be released.
        if (entry.messageId !== undefined) continue;
        this.#remove(queue, entry);
        this.#counters.dropped += 1;
        if (!isFull()) return true;
      }
    }
    this.#counters.dropped += 1;
    return false;
  }

  #newBody(packet: StoredPacket): Body {
    const weight = weightOf(packet);
    this.#lastId += 1;
    const body = this.#bodyOf(this.#lastId, packetOf({ ...packet, payload: ownPayload(packet.payload) }));
    const { topic, payload, qos, retain } = body.packet;
    const values = [body.id, topic, payloadBytes(payload), qos ?? 0, retain ? 1 : 0, null, null, null];
    this.#change({ name: 'putBody', values }, weight);
    return body;
  }

  #bodyOf(id: number, packet: StoredPacket): Body {
    return { id, packet, weight: weightOf(packet), references: 0 };
  }

  #append(queue: Queue, clientId: string, body: Body): void {
    this.#lastId += 1;
    this.#take(queue, { id: this.#lastId, body, messageId: undefined, pubrel: undefined });
    this.#change(
      { name: 'putQueued', values: [this.#lastId, clientId, body.id, body.packet.qos ?? 1, 0, null, null] },
      clientId.length,
    );
  }

  #take(queue: Queue, entry: Entry): void {
    const { body } = entry;
    queue.entries.add(entry);
    this.#pool.addBytes('queued', ENTRY_WEIGHT);
    this.#pool.addOwnerBytes('queued', queue.owner, ENTRY_WEIGHT);
    if (body === RELEASED) return;
    if (body.references === 0) this.#pool.addBytes('queued', body.weight);
    this.#pool.addOwnerBytes('queued', queue.owner, body.weight);
    body.references += 1;
    queue.bytes += body.packet.payload.length;
  }

  #remove(queue: Queue, entry: Entry): void {
    queue.entries.delete(entry);
    this.#pool.addBytes('queued', -ENTRY_WEIGHT);
    this.#pool.addOwnerBytes('queued', queue.owner, -ENTRY_WEIGHT);
    this.#numbered.delete(entry);
    this.#change({ name: 'dropQueued', values: [entry.id] }, 0);
    this.#release(queue, entry.body);
  }

  #release(queue: Queue, body: Body): void {
    if (body === RELEASED) return;
    queue.bytes -= body.packet.payload.length;
    this.#pool.addOwnerBytes('queued', queue.owner, -body.weight);
    body.references -= 1;
    if (body.references > 0) return;
    this.#pool.addBytes('queued', -body.weight);
    this.#change({ name: 'dropBody', values: [body.id] }, 0);
  }

  #writeNumber(entry: Entry): void {
    if (!this.#numbered.delete(entry)) return;
    this.#change({ name: 'numberQueued', values: [entry.messageId ?? null, entry.id] }, 0);
  }
}

/** The body of an entry of which only PUBREL is left. */
const RELEASED: Body = { id: 0, packet: packetOf({}), weight: 0, references: 0 };

/** A packet with the same properties as one of aedes-packet. */
function packetOf(packet: Partial<StoredPacket>): StoredPacket {
  return {
    cmd: 'publish',
    brokerId: packet.brokerId,
    brokerCounter: packet.brokerCounter ?? 0,
    topic: packet.topic ?? '',
    payload: packet.payload ?? Buffer.alloc(0),
    qos: packet.qos ?? 0,
    retain: packet.retain ?? false,
    dup: false,
    ...(packet.clientId !== undefined && { clientId: packet.clientId }),
  } as StoredPacket;
}

function isUnsent({ messageId, pubrel }: Entry): boolean {
  return messageId === undefined && pubrel === undefined;
}

function packetIn({ body, messageId, pubrel }: Entry): StoredPacket {
  return pubrel ?? { ...body.packet, messageId };
}
