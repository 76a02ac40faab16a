/**
 * Sends the retained messages of a new subscription: RETAIN 1, with the QoS of the subscription at most. In pieces, so that a subscription
 * to a whole fleet does not hold up other clients, and at the pace at which the client reads.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { BrokerLimits } from '../broker-limits.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { Session } from '../sessions/session.ts';
import type { Message } from './message.ts';
import type { Qos } from './packets.ts';
import type { Subscription } from './session-subscriptions.ts';

export interface RetainedDeliveryOptions {
  readonly limits: BrokerLimits;
  readonly store: SessionStore;
  readonly nextNumber: () => number;
}

/** Messages sent in one turn of the event loop. */
const PER_TURN = 100;

export class RetainedDelivery {
  readonly #options: RetainedDeliveryOptions;

  constructor(options: RetainedDeliveryOptions) {
    this.#options = options;
  }

  send(session: Session, subscription: Subscription): void {
    const messages = this.#options.store.retainedMatching(subscription.filter)[Symbol.iterator]();
    void this.#sendAll(session, subscription, messages);
  }

  async #sendAll(session: Session, subscription: Subscription, messages: Iterator<Message>): Promise<void> {
    let sent = 0;
    for (let next = messages.next(); !next.done && !session.isEnded; next = messages.next()) {
      this.#sendOne(session, subscription, next.value);
      sent += 1;
      if (sent % PER_TURN === 0) await nextTurn();
    }
    session.outgoing?.wake();
  }

  #sendOne(session: Session, { qos: granted, subscriptionIdentifier }: Subscription, retained: Message): void {
    const { store, nextNumber } = this.#options;
    const qos = Math.min(granted, retained.qos) as Qos;
    const subscriptionIdentifiers = subscriptionIdentifier === undefined ? undefined : [subscriptionIdentifier];
    if (qos === 0) {
      session.outgoing?.sendAtMostOnce(retained, { qos, retainAsPublished: true, subscriptionIdentifiers }, true);
      return;
    }
    if (!session.rights.mayReceive(retained.topic).allowed) return;
    const { clientId } = session.facts;
    // Another message than the one that was published: it may be in the queue a second time.
    const message = { ...retained, number: nextNumber() };
    const receiver = { clientId, owner: session.owner, qos, retain: true, subscriptionIdentifiers };
    store.enqueue([{ ...receiver, share: undefined, isConnected: true }], message);
  }
}
