/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP from a client (MQTT 3.1.1 and 5, sections 3.4 to 3.7 and 4.3). The first, second and last answer
 * messages that the server sent; PUBREL ends a message of QoS 2 that the client sent.
 */

import { ReasonCode } from '@rollcall/protocol';
import type { Session } from '../sessions/session.ts';
import { encodeAcknowledgement } from './codec/packet-encoder.ts';
import { type AcknowledgementPacket, PacketType } from './packets.ts';

export class AcknowledgementHandler {
  handle(session: Session, { type, packetId, reasonCode }: AcknowledgementPacket): void {
    switch (type) {
      case PacketType.puback:
        session.outgoing?.pubackReceived(packetId);
        break;
      case PacketType.pubrec:
        session.outgoing?.pubrecReceived(packetId, reasonCode);
        break;
      case PacketType.pubcomp:
        session.outgoing?.pubcompReceived(packetId);
        break;
      case PacketType.pubrel:
        this.#release(session, packetId);
    }
  }

  /** PUBCOMP frees the identifier: after a crash a new message under it must not be taken for the old one [MQTT-4.3.3-11]. */
  #release(session: Session, packetId: number): void {
    const { version } = session.connectPacket;
    const isKnown = session.record.incoming.remove(packetId);
    const code = isKnown ? ReasonCode.success : ReasonCode.packetIdentifierNotFound;
    session.acknowledgements.afterStored(session.record.durable(), () => {
      session.connection.send(encodeAcknowledgement(version, PacketType.pubcomp, packetId, code));
    });
  }
}
