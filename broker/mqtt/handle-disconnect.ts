/**
 * DISCONNECT from a client (MQTT 3.1.1 and 5, section 3.14): its will is deleted, unless the client asks for it [MQTT-3.14.4-3], and its
 * session may get another expiry. Messages that are being stored are acknowledged first.
 */

import { ReasonCode } from '@rollcall/protocol';
import type { Session } from '../sessions/session.ts';
import type { DisconnectPacket } from './packets.ts';

export interface DisconnectHandlerOptions {
  /** Seconds; the longest that a session is stored after its client has disconnected. */
  readonly longestExpiry: number;
}

export class DisconnectHandler {
  readonly #options: DisconnectHandlerOptions;

  constructor(options: DisconnectHandlerOptions) {
    this.#options = options;
  }

  handle(session: Session, { reasonCode, sessionExpiryInterval }: DisconnectPacket): void {
    if (sessionExpiryInterval !== undefined) {
      session.sessionExpiryInterval = Math.min(sessionExpiryInterval, this.#options.longestExpiry);
    }
    session.sawDisconnect = true;
    session.suppressesWill ||= reasonCode !== ReasonCode.disconnectWithWill;
    session.acknowledgements.afterEarlier(() => session.end('client_disconnected'));
  }
}
