/**
 * Sends the retained messages of a new subscription: RETAIN 1, with the QoS of the subscription at most. One subscription of a client at a
 * time, in pieces, and at the pace at which the client reads and acknowledges, so that a subscription to a whole fleet neither holds up
 * other clients nor overflows the queue of its own.
 */

import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import type { SessionStore } from '../session-store/session-store.ts';
import type { Session } from '../sessions/session.ts';
import type { Message } from './message.ts';
import type { Qos } from './packets.ts';
import type { Subscription } from './session-subscriptions.ts';

export interface RetainedDeliveryOptions {
  readonly store: SessionStore;
  readonly nextNumber: () => number;
}

/** Messages in one turn of the event loop. */
const PER_TURN = 50;

/** How long to wait for a client that is behind, in ms, before looking again. */
const PAUSE_MS = 20;

export class RetainedDelivery {
  readonly #options: RetainedDeliveryOptions;
  /** The delivery that a session is in. */
  readonly #running = new WeakMap<Session, Promise<void>>();

  constructor(options: RetainedDeliveryOptions) {
    this.#options = options;
  }

  /** Counts against the packets of the session that may be in progress until it is done. */
  send(session: Session, subscription: Subscription): void {
    const earlier = this.#running.get(session);
    session.delivering += 1;
    const running = (earlier ?? Promise.resolve())
      .then(() => this.#sendAll(session, subscription))
      .catch((error: unknown) => session.input.failed(error))
      .finally(() => {
        session.delivering -= 1;
        session.connection.continueReading();
      });
    this.#running.set(session, running);
  }

  async #sendAll(session: Session, subscription: Subscription): Promise<void> {
    // A message that is retained from now on reaches the session by its subscription.
    const latest = this.#options.nextNumber();
    let seen = 0;
    for (const message of this.#options.store.retainedMatching(subscription.filter)) {
      seen += 1;
      if (seen % PER_TURN === 0) await nextTurn();
      if (message.number > latest) continue;
      while (session.isOpen && session.outgoing?.isBehind === true) await wait(PAUSE_MS, undefined, { ref: false });
      if (!session.isOpen || !session.subscriptions.isCurrent(subscription)) return;
      this.#sendOne(session, subscription, message);
    }
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
    session.outgoing?.wake();
  }
}
