/** Reads PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7) and DISCONNECT (3.14): a reason code and properties with MQTT 5. */

import { type AcknowledgementPacket, type DisconnectPacket, PacketType, type ProtocolVersion } from '../packets.ts';
import { reader } from './field-reader.ts';
import type { PacketLimits } from './packet-limits.ts';
import { readProperties } from './properties.ts';
import { ACKNOWLEDGEMENT_PROPERTIES, DISCONNECT_PROPERTIES } from './property-table.ts';
import { FAULTS, type Fault } from './protocol-violations.ts';

/** Reason codes that a client may send. 0x10 comes from a server only (MQTT 5, 3.4.2.1). */
const RECEIVED = new Set([0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
const RELEASED = new Set([0x00, 0x92]);
const DISCONNECTED = new Set([0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]);

type AcknowledgementType = AcknowledgementPacket['type'];

const REASON_CODES: Record<AcknowledgementType, { readonly codes: ReadonlySet<number>; readonly fault: Fault }> = {
  [PacketType.puback]: { codes: RECEIVED, fault: FAULTS.pubackReason },
  [PacketType.pubrec]: { codes: RECEIVED, fault: FAULTS.pubrecReason },
  [PacketType.pubrel]: { codes: RELEASED, fault: FAULTS.pubrelReason },
  [PacketType.pubcomp]: { codes: RELEASED, fault: FAULTS.pubcompReason },
};

const NORMAL_DISCONNECTION: DisconnectPacket = Object.freeze({ reasonCode: 0, sessionExpiryInterval: undefined });

/** `start`: the first byte after the fixed header. The decoder has checked that MQTT 3.1.1 sent two bytes. */
export function readAcknowledgement(
  bytes: Buffer,
  type: AcknowledgementType,
  start: number,
  end: number,
  limits: PacketLimits,
): AcknowledgementPacket | Fault {
  reader.open(bytes, start, end);
  const packetId = reader.uint16();
  if (packetId === 0) reader.fail(FAULTS.packetId);
  let reasonCode = 0;
  if (!reader.isAtEnd) {
    reasonCode = reader.byte();
    if (!REASON_CODES[type].codes.has(reasonCode)) reader.fail(REASON_CODES[type].fault);
    if (!reader.isAtEnd) readProperties(reader, ACKNOWLEDGEMENT_PROPERTIES[type], limits);
    if (!reader.isAtEnd) reader.fail(FAULTS.trailing);
  }
  return reader.close() ?? { type, packetId, reasonCode };
}

/** `endsSession`: the Session Expiry Interval of CONNECT was 0, so that DISCONNECT cannot make it longer. */
export function readDisconnect(
  bytes: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
  limits: PacketLimits,
  endsSession: boolean,
): DisconnectPacket | Fault {
  if (version === 4 || start === end) return NORMAL_DISCONNECTION;
  reader.open(bytes, start, end);
  const reasonCode = reader.byte();
  if (!DISCONNECTED.has(reasonCode)) reader.fail(FAULTS.disconnectReason);
  let sessionExpiryInterval: number | undefined;
  if (!reader.isAtEnd) {
    sessionExpiryInterval = readProperties(reader, DISCONNECT_PROPERTIES, limits).sessionExpiryInterval;
    if (endsSession && sessionExpiryInterval !== undefined && sessionExpiryInterval > 0) {
      reader.fail(FAULTS.disconnectExpiry);
    }
  }
  if (!reader.isAtEnd) reader.fail(FAULTS.trailing);
  return reader.close() ?? { reasonCode, sessionExpiryInterval };
}
