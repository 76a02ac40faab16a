/** UNSUBSCRIBE (MQTT 3.1.1 and 5, section 3.10): removes filters that match as text [MQTT-3.10.4-1], answered by UNSUBACK. */

import { ReasonCode } from '@rollcall/protocol';
import type { MessageRouter } from '../routing/message-router.ts';
import type { Session } from '../sessions/session.ts';
import { encodeUnsuback } from './codec/packet-encoder.ts';
import type { UnsubscribePacket } from './packets.ts';

export interface UnsubscribeHandlerOptions {
  readonly router: MessageRouter;
}

export class UnsubscribeHandler {
  readonly #options: UnsubscribeHandlerOptions;

  constructor(options: UnsubscribeHandlerOptions) {
    this.#options = options;
  }

  handle(session: Session, { packetId, filters }: UnsubscribePacket): void {
    const { removed, stored } = this.remove(session, filters);
    const codes = removed.map((wasThere) => (wasThere ? ReasonCode.success : ReasonCode.noSubscriptionExisted));
    const answer = () => session.connection.send(encodeUnsuback(session.connectPacket.version, packetId, codes));
    if (stored === undefined) session.acknowledgements.afterEarlier(answer);
    else session.acknowledgements.afterStored(stored, answer);
  }

  /**
   * Removes subscriptions of a connected session, also for a policy that does not allow them any more. `removed`: true for each that was
   * there. `stored` resolves when the removal is stored; undefined: nothing to wait for.
   */
  remove(
    session: Session,
    filters: readonly string[],
  ): { readonly removed: readonly boolean[]; readonly stored: Promise<void> | undefined } {
    const { router } = this.#options;
    const removed = filters.map((filter) => {
      const subscription = session.subscriptions.delete(filter);
      if (subscription === undefined) return false;
      router.unsubscribe(session, subscription);
      return true;
    });
    const stored = removed.includes(true) ? session.record.unsubscribe(filters) : undefined;
    return { removed, stored };
  }
}
