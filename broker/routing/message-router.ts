/**
 * Delivers a message to the sessions that are connected to this node: through aedes (`publish`, `subscribe`, `unsubscribe`), which matches
 * topics and fans out; to members of shared subscriptions as they were chosen. Storing a message for sessions that are away is done before,
 * by `broker/keeper/`: aedes would call back only after the delivery, and the acknowledgement comes before that.
 */

import { Aedes } from 'aedes';
import mqemitter from 'mqemitter';
import type { Logger } from 'pino';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ShareChoice, ShareMember } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';
import type { Subscription } from '../mqtt/session-subscriptions.ts';
import { FilterTree } from '../session-store/filter-tree.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { Session } from '../sessions/session.ts';
import { AedesPersistence } from './aedes-persistence.ts';
import type { Routes } from './routes.ts';

export interface MessageRouterOptions {
  readonly store: SessionStore;
  readonly log: Logger;
  readonly limits: Pick<BrokerLimits, 'topicLevels'>;
  readonly routes: Routes;
  /** The connected session of a client id. */
  readonly find: (clientId: string) => Session | undefined;
}

type AedesListener = Parameters<Aedes['subscribe']>[1];

/** aedes looks for other brokers, of which there are none, at this interval in ms; it cannot be disabled. */
const HEARTBEAT_MS = 3_600_000;

export class MessageRouter {
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

  /** The filters of connected sessions, and of the server. */
  get filters(): Pick<FilterTree<never>, 'filters' | 'onFilter'> {
    return this.#live;
  }

  /** Changes whenever an answer of `hasSubscriber` or `isRouted` may change; never decreases. */
  get generation(): number {
    return this.#live.generation + this.#options.routes.generation;
  }

  /** Whether a topic has a subscriber, connected or away. */
  hasSubscriber(topic: string): boolean {
    return this.#live.hasMatch(topic) || this.#options.routes.hasReceiver(topic);
  }

  /** Whether receivers have to be chosen before a message is acknowledged: it is queued for some, or shared. */
  isRouted(topic: string): boolean {
    return this.#options.routes.isQueued(topic);
  }

  /** Once for each filter of a connected session. The record of its session has the shared ones. */
  subscribe(session: Session, { filter, sharedFilter }: Subscription): void {
    if (sharedFilter !== undefined) return;
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

  unsubscribe(session: Session, { filter, sharedFilter }: Pick<Subscription, 'filter' | 'sharedFilter'>): void {
    if (sharedFilter !== undefined) return;
    this.#live.removeLive(filter);
    this.#aedes.unsubscribe(filter, this.#listenerOf(session), ignore);
  }

  /** Removes the subscriptions of a connection that has ended. */
  removeSession(session: Session): void {
    for (const subscription of session.subscriptions.all()) this.unsubscribe(session, subscription);
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
