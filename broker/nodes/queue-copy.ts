/** Gives a node a copy of the queue of a session that it has claimed, and applies the changes that the node makes in its copy. */

import type { Message } from '../mqtt/message.ts';
import type { MessageQueue } from '../session-store/message-queue.ts';
import type { QueueEntry } from '../session-store/queue-entry.ts';
import type { ChannelToNode, QueuedEntry, QueuedGroup } from './node-calls.ts';

/** Messages for the copies on one node. Those of one message for several sessions go together. */
export class QueueAnnouncements {
  readonly #channel: ChannelToNode;
  #message: Message | undefined;
  #entries: QueuedGroup['entries'][number][] = [];

  constructor(channel: ChannelToNode) {
    this.#channel = channel;
  }

  add(message: Message, entry: QueuedGroup['entries'][number]): void {
    if (this.#message !== message) this.flush();
    if (this.#message === undefined) queueMicrotask(() => this.flush());
    this.#message = message;
    this.#entries.push(entry);
  }

  /** To be called before anything is sent that has to come after what was added. */
  flush(): void {
    const message = this.#message;
    if (message === undefined) return;
    const entries = this.#entries;
    this.#message = undefined;
    this.#entries = [];
    this.#channel.tell('queued', { message, entries });
  }
}

export class QueueCopy {
  readonly #claim: number;
  readonly #queue: MessageQueue;
  readonly #channel: ChannelToNode;
  readonly #announcements: QueueAnnouncements;
  readonly #entries = new Map<number, QueueEntry>();
  readonly #refs = new Map<QueueEntry, number>();
  #lastRef = 0;
  /** The node makes the change itself, and needs not to be told. */
  #isOwnChange = false;

  constructor(claim: number, queue: MessageQueue, channel: ChannelToNode, announcements: QueueAnnouncements) {
    this.#claim = claim;
    this.#queue = queue;
    this.#channel = channel;
    this.#announcements = announcements;
  }

  /** What is in the queue. The node is told every change from now on. */
  begin(): readonly (QueuedEntry & { readonly message: Message })[] {
    const found = [...this.#queue.entries()].map((entry) => ({ ...this.#describe(entry), message: entry.message }));
    this.#queue.observer = {
      added: (entry) => {
        if (entry.packetId !== undefined) return;
        this.#announcements.add(entry.message, { ...this.#describe(entry), claim: this.#claim });
      },
      removed: (entry) => this.#removed(entry),
    };
    return found;
  }

  end(): void {
    this.#queue.observer = undefined;
  }

  /** A promise: the message may be sent after that. */
  assignPacketId(ref: number, packetId: number): Promise<void> | undefined {
    const entry = this.#entries.get(ref);
    if (entry === undefined || !entry.isUnsent) return undefined;
    return this.#queue.assignPacketId(entry, packetId);
  }

  release(ref: number): Promise<void> | undefined {
    const packetId = this.#entries.get(ref)?.packetId;
    return packetId === undefined ? undefined : this.#queue.release(packetId);
  }

  remove(ref: number): void {
    const entry = this.#entries.get(ref);
    if (entry === undefined) return;
    this.#isOwnChange = true;
    this.#queue.remove(entry);
    this.#isOwnChange = false;
  }

  #removed(entry: QueueEntry): void {
    const ref = this.#refs.get(entry);
    if (ref === undefined) return;
    this.#refs.delete(entry);
    this.#entries.delete(ref);
    if (this.#isOwnChange) return;
    this.#announcements.flush();
    this.#channel.tell('unqueued', { claim: this.#claim, ref });
  }

  #describe(entry: QueueEntry): QueuedEntry {
    this.#lastRef += 1;
    this.#entries.set(this.#lastRef, entry);
    this.#refs.set(entry, this.#lastRef);
    const { qos, retain, subscriptionIdentifiers, share, packetId, isReleased } = entry;
    return { ref: this.#lastRef, qos, retain, subscriptionIdentifiers, share, packetId, isReleased };
  }
}
