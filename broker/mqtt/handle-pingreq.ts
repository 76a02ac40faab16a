/** PINGREQ (MQTT 3.1.1 and 5, section 3.12), answered at once: a client that waits for storage is alive [MQTT-3.12.4-1]. */

import type { Session } from '../sessions/session.ts';
import { PINGRESP } from './codec/packet-encoder.ts';

export class PingreqHandler {
  handle(session: Session): void {
    session.connection.send(PINGRESP);
  }
}
