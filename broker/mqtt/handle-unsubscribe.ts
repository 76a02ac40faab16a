/** UNSUBSCRIBE (MQTT 3.1.1 and 5, section 3.10): removes filters that match as text [MQTT-3.10.4-1], answered by UNSUBACK. */

import { ReasonCode } from '@rollcall/protocol';
import type { MessageRouter } from '../routing/message-router.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { Session } from '../sessions/session.ts';
import { encodeUnsuback } from './codec/packet-encoder.ts';
import type { UnsubscribePacket } from './packets.ts';

export interface UnsubscribeHandlerOptions {
  readonly store: SessionStore;
  readonly router: MessageRouter;
}

export class UnsubscribeHandler {
  readonly #options: UnsubscribeHandlerOptions;

  constructor(options: UnsubscribeHandlerOptions) {
    this.#options = options;
  }

  handle(session: Session, { packetId, filters }: UnsubscribePacket): void {
    const codes = this.remove(session, filters).map((wasThere) =>
      wasThere ? ReasonCode.success : ReasonCode.noSubscriptionExisted,
    );
    const answer = () => session.connection.send(encodeUnsuback(session.connectPacket.version, packetId, codes));
    const { store } = this.#options;
    if (session.isStored && codes.includes(ReasonCode.success)) {
      session.acknowledgements.afterStored(store.durable(), answer);
    } else session.acknowledgements.afterEarlier(answer);
  }

  /** Removes subscriptions of a connected session, also for a policy that does not allow them any more. True for each that was there. */
  remove(session: Session, filters: readonly string[]): boolean[] {
    const { store, router } = this.#options;
    const removed = filters.map((filter) => {
      const subscription = session.subscriptions.delete(filter);
      if (subscription === undefined) return false;
      router.unsubscribe(session, subscription);
      return true;
    });
    if (session.isStored) store.removeSubscriptions(session.facts.clientId, filters);
    return removed;
  }
}
