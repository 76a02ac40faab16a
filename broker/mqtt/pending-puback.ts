/**
 * A message of QoS 0 or 1 that is for the journal alone, as most telemetry is: it waits for the disk and for earlier messages, and is
 * acknowledged. There is one for each message that is in flight, so it holds no more than that.
 */

import type { Session } from '../sessions/session.ts';
import { PendingAcknowledgement } from './acknowledgement-order.ts';

export class PendingPuback extends PendingAcknowledgement {
  readonly #session: Session;
  readonly #packetId: number;

  /** `packetId`: 0 for QoS 0, which has no acknowledgement. */
  constructor(session: Session, packetId: number) {
    super(session.acknowledgements);
    this.#session = session;
    this.#packetId = packetId;
  }

  stored(): void {
    this.#session.messageStored();
    this.order.ready(this);
  }

  /** The journal had a message with the same key. */
  repeated(): void {
    this.order.ready(this);
  }

  acknowledge(): void {
    if (this.#packetId > 0) this.#session.connection.acknowledge(this.#packetId);
  }
}
