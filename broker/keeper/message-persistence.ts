/**
 * Stores a message, before it is acknowledged, for persistent sessions and as the retained message of its topic, under the access rules:
 * a message is queued only for sessions that may receive it, and everything stored has an owner, so that a revocation can delete it. All
 * changes of one message are on disk together or not at all.
 */

import { filterMatches, isServerTopic, Problem, parseShare } from '@rollcall/protocol';
import type { BrokerLimits } from '../broker-limits.ts';
import type { Message } from '../mqtt/message.ts';
import type { Qos } from '../mqtt/packets.ts';
import { SERVER_OWNER } from '../session-store/memory-pool.ts';
import type { QueueReceiver } from '../session-store/message-queues.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import { messageBytes } from '../session-store/stored-message.ts';
import type { PersistentSessions } from './persistent-sessions.ts';
import { RetainedOwners } from './retained-owners.ts';
import { type EnqueueOptions, NoRoomError } from './sessions.ts';
import type { ShareChoice } from './shared-subscriptions.ts';

export interface PersistOptions extends Omit<EnqueueOptions, 'received'> {
  /** Another node has stored it as the retained message of its topic; this one only has to know. */
  readonly isReplica?: boolean;
  /** It is not to become the retained message of its topic. */
  readonly isForQueuesOnly?: boolean;
  /** Queues it only for these sessions; for all when left out. */
  readonly isFor?: ((clientId: string) => boolean) | undefined;
  /** Makes the changes that have to be on disk together with those of the message, or not at all. */
  readonly together?: (() => void) | undefined;
}

export interface MessagePersistenceOptions {
  readonly store: SessionStore;
  readonly sessions: PersistentSessions;
  readonly limits: BrokerLimits;
  /** An owner would retain more than the limits of one identity. */
  readonly limitExceeded: (owner: string, bytes: number) => void;
}

const TOO_MANY_CHANGES = {
  reason: 'expected room for another change of sessions, found too many that wait for the disk',
};

/** An empty payload removes a retained message [MQTT-3.3.1-6, MQTT-3.3.1-7]. */
export const REMOVAL: Omit<Message, 'topic'> = {
  payload: Buffer.alloc(0),
  qos: 0,
  retain: true,
  properties: undefined,
  expiresAt: undefined,
  clientId: undefined,
  number: 0,
};

/** Queued with QoS 1 at least. */
type Receivers = Map<string, QueueReceiver & { readonly qos: Qos }>;

export class MessagePersistence {
  readonly #options: MessagePersistenceOptions;
  readonly #retained: RetainedOwners;

  constructor(options: MessagePersistenceOptions) {
    this.#options = options;
    this.#retained = new RetainedOwners(options.limits);
    for (const { topic, owner, bytes } of options.store.retainedOwners()) {
      if (owner !== undefined) this.#retained.set(topic, owner, bytes);
    }
  }

  /** Owners of retained messages. */
  owners(): Iterable<string> {
    return this.#retained.owners();
  }

  /** Whether an owner may retain a message, by its own limits and its share of the store. A refusal is counted and reported. */
  mayRetain(topic: string, bytes: number, owner: string): boolean {
    const { store, limitExceeded } = this.#options;
    if (!this.#retained.hasRoom(topic, owner, bytes)) {
      limitExceeded(owner, bytes);
      return false;
    }
    if (store.mayRetain(topic, bytes, owner)) return true;
    store.recordRefusedRetain(topic, bytes, owner);
    return false;
  }

  /** As `Sessions.enqueue`. For a retained message {@link mayRetain} was asked before. */
  persist(
    message: Message,
    { owner, shares, isInJournal, isReplica = false, isForQueuesOnly = false, isFor, together }: PersistOptions,
  ): Promise<void> | undefined {
    const { store } = this.#options;
    const receivers = message.qos === 0 ? undefined : this.#receiversOf(message, shares, isFor);
    if (receivers === undefined && !message.retain && together === undefined) return undefined;
    if (!store.hasRoom()) return Promise.reject(new Problem('unavailable', TOO_MANY_CHANGES));
    if (message.retain && !isForQueuesOnly) this.#retain(message, owner, isReplica);
    if (receivers !== undefined) {
      const queued = store.enqueue([...receivers.values()], message);
      for (const choice of shares ?? []) choice.isQueued = queued.includes(choice.member.clientId);
      const isForNobody = queued.length === 0 && ![...receivers.values()].some(({ isConnected }) => isConnected);
      if (isForNobody && !message.retain && !isInJournal) return Promise.reject(new NoRoomError());
    }
    together?.();
    return message.qos === 0 ? undefined : store.durable();
  }

  /** Queues a message of a shared subscription for another member. */
  enqueueShared(message: Message, choice: Pick<ShareChoice, 'member' | 'share'>): void {
    const receivers: Receivers = new Map();
    this.#addShared(receivers, message, choice);
    this.#options.store.enqueue([...receivers.values()], message);
  }

  /** Deletes the retained messages of an owner. */
  purge(owner: string): void {
    const { store } = this.#options;
    for (const topic of this.#retained.topicsOf(owner)) {
      this.#retained.delete(topic);
      store.removeRetainedOf(topic, owner);
    }
  }

  /** Removes messages that have expired. */
  sweep(now: number): void {
    for (const topic of this.#options.store.sweep(now)) this.#retained.delete(topic);
  }

  /** The present owner of the retained message of a topic. */
  ownerOf(topic: string): string | undefined {
    return this.#retained.ownerOf(topic);
  }

  /** Retains a message, or removes one, that is stored already, with this owner. */
  replicate(message: Message, owner: string): void {
    this.#options.store.replicate(message, owner);
    this.#retainedFor(owner, message);
  }

  #retain(message: Message, publisher: string, isReplica: boolean): void {
    const owner = isServerTopic(message.topic) ? SERVER_OWNER : publisher;
    if (isReplica) this.replicate(message, owner);
    else if (this.#options.store.retain(message, owner)) this.#retainedFor(owner, message);
  }

  #retainedFor(owner: string, message: Message): void {
    const { topic, payload } = message;
    this.#retained.delete(topic);
    if (payload.length > 0 && owner !== '') this.#retained.set(topic, owner, messageBytes(message));
  }

  /** Each persistent session once, with the highest QoS of its matching subscriptions [MQTT-3.3.4-2]; undefined for none. */
  #receiversOf(
    message: Message,
    shares: readonly ShareChoice[] | undefined,
    isFor: PersistOptions['isFor'],
  ): Receivers | undefined {
    const matching = this.#options.store.filters.matching(message.topic);
    if (matching.length === 0 && shares === undefined) return undefined;
    const receivers: Receivers = new Map();
    for (const { clientId } of matching) {
      if (receivers.has(clientId) || isFor?.(clientId) === false) continue;
      this.#addReceiver(receivers, message, clientId);
    }
    for (const choice of shares ?? []) this.#addShared(receivers, message, choice);
    return receivers.size === 0 ? undefined : receivers;
  }

  #addReceiver(receivers: Receivers, message: Message, clientId: string): void {
    const { store, sessions } = this.#options;
    if (sessions.rightsOf(clientId)?.mayReceive(message.topic).allowed !== true) return;
    const isOwn = message.clientId === clientId;
    const own = store.subscriptionsOf(clientId).filter((one) => grants(one, message.topic) && !(isOwn && one.noLocal));
    const qos = Math.max(0, ...own.map((one) => one.qos)) as Qos;
    if (qos === 0) return;
    const identifiers = own.flatMap(({ subscriptionIdentifier }) => subscriptionIdentifier ?? []);
    receivers.set(clientId, {
      ...this.#receiver(clientId, Math.min(qos, message.qos) as Qos),
      retain: message.retain && own.some(({ retainAsPublished }) => retainAsPublished),
      subscriptionIdentifiers: identifiers.length === 0 ? undefined : identifiers,
      share: undefined,
    });
  }

  /** A member that receives the message by a subscription of its own as well gets it twice, as two subscriptions (MQTT 5, 4.8.2). */
  #addShared(receivers: Receivers, message: Message, { member, share }: Pick<ShareChoice, 'member' | 'share'>): void {
    const { clientId, subscriptionIdentifier, retainAsPublished } = member;
    const qos = Math.min(member.qos, message.qos) as Qos;
    if (qos === 0 || !this.#options.sessions.has(clientId)) return;
    receivers.set(`${share} ${clientId}`, {
      ...this.#receiver(clientId, qos),
      retain: message.retain && retainAsPublished,
      subscriptionIdentifiers: subscriptionIdentifier === undefined ? undefined : [subscriptionIdentifier],
      share,
    });
  }

  #receiver(clientId: string, qos: Qos) {
    const { sessions } = this.#options;
    const owner = sessions.ownerOf(clientId) ?? clientId;
    return { clientId, owner, qos, isConnected: sessions.isConnected(clientId) };
  }
}

function grants({ filter }: StoredSubscription, topic: string): boolean {
  return parseShare(filter) === undefined && filterMatches(filter, topic);
}
