/** The handlers of one broker: one per packet type, the same for all sessions and for both protocol versions. */

import type { AcknowledgementHandler } from './handle-acknowledgement.ts';
import type { DisconnectHandler } from './handle-disconnect.ts';
import type { PingreqHandler } from './handle-pingreq.ts';
import type { PublishHandler } from './handle-publish.ts';
import type { SubscribeHandler } from './handle-subscribe.ts';
import type { UnsubscribeHandler } from './handle-unsubscribe.ts';

export interface SessionHandlers {
  readonly publish: PublishHandler;
  readonly acknowledgement: AcknowledgementHandler;
  readonly subscribe: SubscribeHandler;
  readonly unsubscribe: UnsubscribeHandler;
  readonly pingreq: PingreqHandler;
  readonly disconnect: DisconnectHandler;
}
