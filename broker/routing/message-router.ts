/**
 * Finds the receivers of a message and delivers it: connected sessions through aedes (`publish`, `subscribe`, `unsubscribe`), which matches
 * topics and fans out; members of shared subscriptions one per group. Storing a message for sessions that are away is done before, by
 * `message-persistence.ts`: aedes would call back only after the delivery, and the acknowledgement comes before that.
 */

import { Aedes } from 'aedes';
import mqemitter from 'mqemitter';
import type { Logger } from 'pino';
import type { Rights } from '../access/acl.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import { type ShareChoice, SharedSubscriptions, type ShareMember } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';
import type { Subscription } from '../mqtt/session-subscriptions.ts';
import { FilterTree } from '../session-store/filter-tree.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { Session } from '../sessions/session.ts';
import { AedesPersistence } from './aedes-persistence.ts';

export interface MessageRouterOptions {
  readonly store: SessionStore;
  readonly log: Logger;
  readonly limits: Pick<BrokerLimits, 'topicLevels'>;
  /** The queue of a session that is away has no room for another message. */
  readonly isQueueFull: (clientId: string) => boolean;
  /** The connected session of a client id. */
  readonly find: (clientId: string) => Session | undefined;
  /** The rights of a session, connected or away. */
  readonly rightsOf: (clientId: string) => Rights | undefined;
}

type AedesListener = Parameters<Aedes['subscribe']>[1];

/** aedes looks for other brokers, of which there are none, at this interval in ms; it cannot be disabled. */
const HEARTBEAT_MS = 3_600_000;

export class MessageRouter {
  readonly shared = new SharedSubscriptions();
  /** A member of a shared subscription that was chosen for a message has left before the delivery. */
  onMemberGone: (message: Message, share: string, member: ShareMember) => void = () => {};
  readonly #aedes: Aedes;
  readonly #options: MessageRouterOptions;
  /** Filters of connected sessions, except shared ones. */
  readonly #live = new FilterTree<never>(() => '');
  /** One listener for all filters of a session. */
  readonly #listeners = new Map<Session, AedesListener>();
  /** Messages that aedes is delivering, by number. */
  readonly #inDelivery = new Map<number, Message>();
  #lastNumber = 0;

  private constructor(aedes: Aedes, options: MessageRouterOptions) {
    this.#aedes = aedes;
    this.#options = options;
  }

  static async open(options: MessageRouterOptions): Promise<MessageRouter> {
    const aedes = await Aedes.createBroker({
      mq: mqemitter({ concurrency: 0, matchEmptyLevels: true }), // A limit would be shared by all receivers.
      persistence: new AedesPersistence(options.store),
      heartbeatInterval: HEARTBEAT_MS,
      maxTopicLevels: options.limits.topicLevels,
    });
    return new MessageRouter(aedes, options);
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#aedes.close(resolve));
  }

  /** A number for a new message, greater than all before. */
  nextNumber(): number {
    this.#lastNumber += 1;
    return this.#lastNumber;
  }

  /** Changes whenever an answer of `hasSubscriber` or `isRouted` may change; never decreases. */
  get generation(): number {
    return this.#live.generation + this.#options.store.filters.generation + this.shared.generation;
  }

  /** Whether a topic has a subscriber, connected or away. */
  hasSubscriber(topic: string): boolean {
    return this.#live.hasMatch(topic) || this.isRouted(topic);
  }

  /** Whether receivers have to be chosen before a message is acknowledged: it is queued for some, or shared. */
  isRouted(topic: string): boolean {
    return this.#options.store.filters.hasMatch(topic) || this.shared.hasMatch(topic);
  }

  /** One receiver per shared subscription that matches. */
  chooseShared(message: Message): readonly ShareChoice[] | undefined {
    return this.shared.hasMatch(message.topic) ? this.shared.choose(message) : undefined;
  }

  /** Once for each filter of a connected session. */
  subscribe(session: Session, subscription: Subscription): void {
    const { filter, sharedFilter } = subscription;
    if (sharedFilter !== undefined) {
      this.addShared(session.facts.clientId, subscription);
      return;
    }
    this.#live.addLive(filter);
    this.#aedes.subscribe(filter, this.#listenerOf(session), ignore);
  }

  /** A subscription of the server itself. `receive` is called with each message that matches, as a session would be. Returns the way to end it. */
  listen(filter: string, receive: (message: Message) => void): () => void {
    const listener = this.#listener(receive);
    this.#live.addLive(filter);
    this.#aedes.subscribe(filter, listener, ignore);
    return () => {
      this.#live.removeLive(filter);
      this.#aedes.unsubscribe(filter, listener, ignore);
    };
  }

  /** A shared subscription of a session, connected or away. Replaces an earlier one to the same filter. */
  addShared(
    clientId: string,
    { filter, ...options }: Pick<Subscription, 'filter' | 'qos' | 'subscriptionIdentifier' | 'retainAsPublished'>,
  ): void {
    const { find, rightsOf } = this.#options;
    this.shared.add(filter, {
      ...options,
      clientId,
      isConnected: () => find(clientId)?.isEnded === false,
      mayReceive: (topic) => rightsOf(clientId)?.mayReceive(topic).allowed === true,
      isBehind: () => {
        const session = find(clientId);
        return session === undefined ? this.#options.isQueueFull(clientId) : session.outgoing?.isBehind === true;
      },
    });
  }

  unsubscribe(session: Session, { filter, sharedFilter }: Pick<Subscription, 'filter' | 'sharedFilter'>): void {
    if (sharedFilter !== undefined) {
      this.shared.remove(filter, session.facts.clientId);
      return;
    }
    this.#live.removeLive(filter);
    this.#aedes.unsubscribe(filter, this.#listenerOf(session), ignore);
  }

  /** Removes the subscriptions of a connection that has ended, except shared ones: the state of its session decides about them. */
  removeSession(session: Session): void {
    for (const subscription of session.subscriptions.all()) {
      if (subscription.sharedFilter === undefined) this.unsubscribe(session, subscription);
    }
    this.#listeners.delete(session);
  }

  /** Delivers a message that is persisted to its connected receivers. `done` is called once, when all of them have it. */
  deliver(message: Message, shares: readonly ShareChoice[] | undefined, done: () => void = ignore): void {
    const { find, log } = this.#options;
    const { topic, payload, number } = message;
    for (const { member, share, isQueued } of shares ?? []) {
      const session = find(member.clientId);
      if (session?.isEnded === false && session.subscriptions.has(share)) session.receiveShared(message, share, member);
      else if (!isQueued) this.onMemberGone(message, share, member);
    }
    this.#inDelivery.set(number, message);
    // QoS and RETAIN are those of each receiver. aedes gets the message as one that it has not to store.
    const packet = {
      cmd: 'publish',
      topic,
      payload,
      qos: 0,
      retain: false,
      dup: false,
      brokerCounter: number,
    } as const;
    this.#aedes.publish(packet, (error) => {
      this.#inDelivery.delete(number);
      if (error) log.error({ err: error, topic }, 'message could not be delivered');
      done();
    });
  }

  #listenerOf(session: Session): AedesListener {
    const known = this.#listeners.get(session);
    if (known !== undefined) return known;
    const listener = this.#listener((message) => session.receive(message));
    this.#listeners.set(session, listener);
    return listener;
  }

  #listener(receive: (message: Message) => void): AedesListener {
    return (packet, done) => {
      const message = this.#inDelivery.get((packet as { brokerCounter: number }).brokerCounter);
      if (message !== undefined) receive(message);
      done();
    };
  }
}

function ignore(): void {}
