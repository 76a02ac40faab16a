/**
 * The state of a session that is connected to this node, and that the keeper has: a copy of its queue and of its unreleased QoS 2
 * messages. Each change is made in the copy at once and posted to the keeper. A session that ends with its connection has both in this
 * node alone.
 */

import { isShared } from '@rollcall/protocol';
import type { Subject } from '../access/acl.ts';
import type { IncomingRecord, OwnDelivery, ReleasedSession, SessionClaim, SessionRecord } from '../keeper/sessions.ts';
import type { Message } from '../mqtt/message.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { IncomingMessage } from '../session-store/incoming-messages.ts';
import { MessageQueue } from '../session-store/message-queue.ts';
import { QueueEntry } from '../session-store/queue-entry.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import type { ChannelToKeeper, ClaimedState, QueuedEntry, UndeliveredShare } from './node-calls.ts';
import { RemoteQueue } from './remote-queue.ts';

const DONE = Promise.resolve();

class RemoteIncoming implements IncomingRecord {
  readonly #messages = new Map<number, IncomingMessage>();
  readonly #claim: number;
  /** Undefined: the messages are in this node alone. */
  readonly #channel: ChannelToKeeper | undefined;

  constructor({ claim, incoming }: ClaimedState, channel: ChannelToKeeper | undefined) {
    this.#claim = claim;
    this.#channel = channel;
    for (const { packetId, key } of incoming) this.#messages.set(packetId, { key });
  }

  get size(): number {
    return this.#messages.size;
  }

  get(packetId: number): IncomingMessage | undefined {
    return this.#messages.get(packetId);
  }

  put(packetId: number, key: string | undefined): void {
    this.mark(packetId, key);
    this.#channel?.tell('incomingPut', { claim: this.#claim, packetId, key });
  }

  /** The keeper makes the same change with another call. */
  mark(packetId: number, key: string | undefined): void {
    this.#messages.set(packetId, { key });
  }

  remove(packetId: number): boolean {
    if (!this.#messages.delete(packetId)) return false;
    this.#channel?.tell('incomingRemoved', { claim: this.#claim, packetId });
    return true;
  }
}

export interface RemoteRecordOptions {
  readonly channel: ChannelToKeeper;
  /** Of sessions that end with their connection. */
  readonly memory: SessionStore;
  released(record: RemoteRecord): void;
}

export class RemoteRecord implements SessionRecord {
  readonly claim: number;
  readonly clientId: string;
  readonly isStored: boolean;
  readonly queue: MessageQueue;
  readonly incoming: RemoteIncoming;
  /** It is, or was, a member of a shared subscription. */
  joinsShares: boolean;
  readonly #owner: string;
  readonly #options: RemoteRecordOptions;
  readonly #remoteQueue: RemoteQueue | undefined;
  readonly #entries = new Map<number, QueueEntry>();

  constructor(
    { clientId, owner }: Pick<SessionClaim, 'clientId' | 'owner'>,
    state: ClaimedState,
    options: RemoteRecordOptions,
  ) {
    const { claim, isStored, subscriptions } = state;
    const { channel, memory } = options;
    this.claim = claim;
    this.clientId = clientId;
    this.isStored = isStored;
    this.joinsShares = subscriptions.some(({ filter }) => isShared(filter));
    this.#owner = owner;
    this.#options = options;
    this.incoming = new RemoteIncoming(state, isStored ? channel : undefined);
    if (!isStored) {
      this.queue = memory.queueOf(clientId, { isStored });
      return;
    }
    this.#remoteQueue = new RemoteQueue(claim, channel);
    this.queue = new MessageQueue(owner, this.#remoteQueue);
    this.queue.observer = { added: () => {}, removed: ({ id }) => void this.#entries.delete(id) };
    for (const { message, ...entry } of state.queue) this.queued(message, entry);
  }

  /** The keeper has added a message to the queue. */
  queued(message: Message, { ref, packetId, isReleased, ...delivery }: QueuedEntry): void {
    const entry = new QueueEntry(ref, message, undefined, delivery);
    entry.packetId = packetId;
    entry.isReleased = isReleased;
    this.#entries.set(ref, entry);
    this.queue.append(entry);
  }

  /** The keeper has removed a message from the queue. One that was sent meanwhile is acknowledged as any other. */
  unqueued(ref: number): void {
    const entry = this.#entries.get(ref);
    this.#entries.delete(ref);
    if (entry === undefined || this.#remoteQueue === undefined) return;
    this.#remoteQueue.isKeepersChange = true;
    this.queue.drop(entry);
    this.#remoteQueue.isKeepersChange = false;
  }

  subscribe(granted: readonly StoredSubscription[]): Promise<void> {
    if (granted.some(({ filter }) => isShared(filter))) this.joinsShares = true;
    return this.#options.channel.call('subscribe', { claim: this.claim, granted });
  }

  unsubscribe(filters: readonly string[]): Promise<void> {
    const removed = this.#options.channel.call('unsubscribe', { claim: this.claim, filters });
    removed.catch(() => {}); // A caller may drop its promise.
    return removed;
  }

  enqueue(message: Message, delivery: OwnDelivery): void {
    if (this.isStored) this.#options.channel.tell('enqueueOwn', { claim: this.claim, message, delivery });
    else {
      const { clientId } = this;
      this.#options.memory.enqueue([{ ...delivery, clientId, owner: this.#owner, isConnected: true }], message);
    }
  }

  /** What is not stored has not to wait for the disk. */
  durable(): Promise<void> {
    return this.isStored ? this.#options.channel.call('durable', { claim: this.claim }) : DONE;
  }

  storeWill(will: WillMessage, subject: Subject): Promise<void> {
    return this.#options.channel.call('storeWill', { claim: this.claim, will, subject });
  }

  async release(end: ReleasedSession): Promise<void> {
    const { channel, memory, released } = this.#options;
    released(this);
    const undelivered: UndeliveredShare[] = [];
    if (!this.isStored) {
      memory.moveShared(this.clientId, ({ message, share }) => {
        if (share !== undefined) undelivered.push({ message, share });
        return true;
      });
      memory.removeSession(this.clientId);
    }
    await channel.call('release', { ...end, claim: this.claim, undelivered });
  }
}
