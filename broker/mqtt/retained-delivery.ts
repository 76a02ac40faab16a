/**
 * Sends the retained messages of a new subscription: RETAIN 1, with the QoS of the subscription at most. One subscription of a client at a
 * time, in pieces of what the client can take, at the pace at which it reads and acknowledges: a subscription to a whole fleet neither holds
 * up other clients nor overflows the queue of its own. What is read is sent at once: nothing waits here, and gets old.
 */

import { setTimeout as wait } from 'node:timers/promises';
import type { RetainedRoom, Sessions } from '../keeper/sessions.ts';
import type { Session } from '../sessions/session.ts';
import type { Message } from './message.ts';
import type { Qos } from './packets.ts';
import type { Subscription } from './session-subscriptions.ts';

export interface RetainedDeliveryOptions {
  readonly sessions: Pick<Sessions, 'retained'>;
  readonly nextNumber: () => number;
}

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
    await caughtUp(session);
    for await (const piece of this.#options.sessions.retained(subscription.filter, () =>
      roomOf(session, subscription),
    )) {
      for (const message of piece) {
        if (!session.isOpen || !session.subscriptions.isCurrent(subscription)) return;
        this.#sendOne(session, subscription, message);
      }
      await caughtUp(session);
    }
  }

  #sendOne(session: Session, { qos: granted, subscriptionIdentifier }: Subscription, retained: Message): void {
    const qos = Math.min(granted, retained.qos) as Qos;
    const subscriptionIdentifiers = subscriptionIdentifier === undefined ? undefined : [subscriptionIdentifier];
    if (qos === 0) {
      session.outgoing?.sendAtMostOnce(retained, { qos, retainAsPublished: true, subscriptionIdentifiers }, true);
      return;
    }
    if (!session.rights.mayReceive(retained.topic).allowed) return;
    // Another message than the one that was published: it may be in the queue a second time.
    const message = { ...retained, number: this.#options.nextNumber() };
    session.record.enqueue(message, { qos, retain: true, subscriptionIdentifiers, share: undefined });
    session.outgoing?.wake();
  }
}

async function caughtUp(session: Session): Promise<void> {
  while (session.isOpen && session.outgoing?.isBehind === true) await wait(PAUSE_MS, undefined, { ref: false });
}

/** Messages of QoS 0 are in no queue. */
function roomOf({ outgoing }: Session, { qos }: Subscription): RetainedRoom {
  const { messages = 0, bytes = 0 } = outgoing?.room ?? {};
  return { messages: qos === 0 ? Number.POSITIVE_INFINITY : messages, bytes };
}
