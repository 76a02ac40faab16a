/**
 * The queue of one session, in memory: unsent messages in order, and sent ones by packet identifier. Each call takes the same time,
 * however long the queue is. The queue of a session that outlives its connection passes its changes to the storage.
 */

import type { OutgoingQueue, QueuedMessage } from './outgoing-queue.ts';
import { type QueueEntry, RELEASED } from './queue-entry.ts';
import type { QueueStorage } from './queue-storage.ts';
import { hasExpired } from './stored-message.ts';

/** Where a queue stores its changes. */
export type QueueChanges = Pick<QueueStorage, 'storePacketId' | 'release' | 'remove' | 'durable'>;

/** Is told what becomes of a queue, so that another thread can have a copy of it. */
export interface QueueObserver {
  added(entry: QueueEntry): void;
  removed(entry: QueueEntry): void;
}

const NONE: readonly QueuedMessage[] = [];
const DONE = Promise.resolve();

export class MessageQueue implements OutgoingQueue {
  readonly owner: string;
  /** Undefined: the session ends with its connection, and nothing of it is on disk. */
  readonly storage: QueueChanges | undefined;
  observer: QueueObserver | undefined;
  #oldest: QueueEntry | undefined;
  #newest: QueueEntry | undefined;
  #unsent = 0;
  #unsentBytes = 0;
  /** By packet identifier, in the order of sending. Most queues of disconnected clients have none. */
  #inFlight: Map<number, QueueEntry> | undefined;
  #bytes = 0;
  #earliestExpiry = Number.POSITIVE_INFINITY;

  constructor(owner: string, storage: QueueChanges | undefined) {
    this.owner = owner;
    this.storage = storage;
  }

  get size(): number {
    return this.#unsent + (this.#inFlight?.size ?? 0);
  }

  get unsentCount(): number {
    return this.#unsent;
  }

  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** Payload and properties of all messages. */
  get bytes(): number {
    return this.#bytes;
  }

  /** No unsent message expires before this time. */
  get earliestExpiry(): number {
    return this.#earliestExpiry;
  }

  append(entry: QueueEntry): void {
    this.#bytes += entry.bytes;
    if (entry.packetId !== undefined) {
      this.#addInFlight(entry.packetId, entry);
      return;
    }
    const { expiresAt } = entry.message;
    if (expiresAt !== undefined && expiresAt < this.#earliestExpiry) this.#earliestExpiry = expiresAt;
    entry.previous = this.#newest;
    if (this.#newest === undefined) this.#oldest = entry;
    else this.#newest.next = entry;
    this.#newest = entry;
    this.#unsent += 1;
    this.#unsentBytes += entry.bytes;
    this.observer?.added(entry);
  }

  nextUnsent(): QueueEntry | undefined {
    return this.#oldest;
  }

  inFlight(): readonly QueuedMessage[] {
    return this.#inFlight === undefined ? NONE : [...this.#inFlight.values()];
  }

  hasPacketId(packetId: number): boolean {
    return this.#inFlight?.has(packetId) === true;
  }

  assignPacketId(queued: QueuedMessage, packetId: number): Promise<void> | undefined {
    const entry = queued as QueueEntry;
    if (!this.#isUnsent(entry)) throw new Error('expected an unsent message of this queue, found another');
    this.#unlink(entry);
    entry.packetId = packetId;
    this.#addInFlight(packetId, entry);
    // Without a row on disk it is never sent again; only another member of its shared subscription may get it.
    if (entry.id === 0 && entry.share === undefined) this.#forget(entry);
    return entry.id === 0 ? undefined : this.storage?.storePacketId(entry);
  }

  release(packetId: number): Promise<void> | undefined {
    const entry = this.#inFlight?.get(packetId);
    if (entry === undefined || entry.qos !== 2) return undefined;
    if (!entry.isReleased) {
      entry.isReleased = true;
      if (entry.id > 0) this.storage?.release(entry, this.owner);
      this.#forget(entry);
    }
    return entry.id > 0 && this.storage !== undefined ? this.storage.durable() : DONE;
  }

  acknowledge(packetId: number): QueuedMessage | undefined {
    const entry = this.#inFlight?.get(packetId);
    if (entry !== undefined) this.remove(entry);
    return entry;
  }

  /** Does nothing for a message that is not in the queue any more, or was sent. */
  drop(queued: QueuedMessage): void {
    const entry = queued as QueueEntry;
    if (this.#isUnsent(entry)) this.remove(entry);
  }

  remove(entry: QueueEntry): void {
    if (entry.packetId !== undefined) this.#inFlight?.delete(entry.packetId);
    else this.#unlink(entry);
    this.#bytes -= entry.bytes;
    if (entry.id > 0) this.storage?.remove(entry, this.owner);
    this.observer?.removed(entry);
  }

  /** Sent messages, then unsent ones. Entries may be removed meanwhile. */
  *entries(): Iterable<QueueEntry> {
    if (this.#inFlight !== undefined) yield* this.#inFlight.values();
    yield* this.#unsentEntries();
  }

  /** Returns how many unsent messages it removed. */
  dropExpired(now: number): number {
    let removed = 0;
    let earliest = Number.POSITIVE_INFINITY;
    for (const entry of this.#unsentEntries()) {
      if (hasExpired(entry.message, now)) {
        this.remove(entry);
        removed += 1;
      } else earliest = Math.min(earliest, entry.message.expiresAt ?? earliest);
    }
    this.#earliestExpiry = earliest;
    return removed;
  }

  #forget(entry: QueueEntry): void {
    this.#bytes -= entry.bytes;
    entry.bytes = 0;
    entry.message = RELEASED;
  }

  *#unsentEntries(): Iterable<QueueEntry> {
    for (let entry = this.#oldest; entry !== undefined; ) {
      const { next } = entry;
      yield entry;
      entry = next;
    }
  }

  #isUnsent(entry: QueueEntry): boolean {
    return entry.packetId === undefined && (entry.previous !== undefined || this.#oldest === entry);
  }

  #addInFlight(packetId: number, entry: QueueEntry): void {
    this.#inFlight ??= new Map();
    this.#inFlight.set(packetId, entry);
  }

  #unlink(entry: QueueEntry): void {
    const { previous, next } = entry;
    if (previous === undefined) this.#oldest = next;
    else previous.next = next;
    if (next === undefined) this.#newest = previous;
    else next.previous = previous;
    entry.previous = undefined;
    entry.next = undefined;
    this.#unsent -= 1;
    this.#unsentBytes -= entry.bytes;
  }
}
