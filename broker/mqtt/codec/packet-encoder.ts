/** Encodes the packets that the server sends, for MQTT 3.1.1 (4) and MQTT 5. Pure; one allocation for each packet. */

import type { ReasonCode } from '@rollcall/protocol';
import { connackReturnCode } from '../connack-return-code.ts';
import { type AcknowledgementPacket, type ConnackProperties, PacketType, type ProtocolVersion } from '../packets.ts';
import { PropertyId } from './property-table.ts';
import {
  textPropertyBytes,
  userPropertiesBytes,
  variableBytes,
  writeTextProperty,
  writeUint16,
  writeUint16Property,
  writeUint32Property,
  writeUserProperties,
  writeVariable,
} from './property-writer.ts';

export { encodePublish, type OutgoingPublish } from './publish-encoder.ts';

const SUBACK_FAILURE = 0x80;

/** Shared by all clients: not to be written to. */
export const PINGRESP: Buffer = Buffer.from([PacketType.pingresp << 4, 0]);

export interface Connack {
  /** False with a refusal, whatever it says [MQTT-3.2.2-4; MQTT 5: MQTT-3.2.2-6]. */
  readonly sessionPresent: boolean;
  readonly reasonCode: ReasonCode;
  /** Ignored with MQTT 3.1.1. */
  readonly properties?: ConnackProperties;
}

export function encodeConnack(version: ProtocolVersion, { sessionPresent, reasonCode, properties }: Connack): Buffer {
  const flags = sessionPresent && reasonCode === 0 ? 1 : 0;
  if (version === 4) {
    return Buffer.from([PacketType.connack << 4, 2, flags, reasonCode === 0 ? 0 : connackReturnCode(reasonCode)]);
  }
  const length = properties === undefined ? 0 : connackPropertiesBytes(properties);
  const packet = start(PacketType.connack << 4, 2 + variableBytes(length) + length);
  let at = bodyOf(packet);
  packet[at] = flags;
  packet[at + 1] = reasonCode;
  at = writeVariable(packet, at + 2, length);
  if (properties !== undefined) writeConnackProperties(packet, at, properties);
  return packet;
}

function connackPropertiesBytes(properties: ConnackProperties): number {
  return (
    (properties.sessionExpiryInterval === undefined ? 0 : 5) +
    (properties.receiveMaximum === undefined ? 0 : 3) +
    (properties.maximumPacketSize === undefined ? 0 : 5) +
    textPropertyBytes(properties.assignedClientIdentifier) +
    (properties.topicAliasMaximum === undefined ? 0 : 3) +
    textPropertyBytes(properties.reasonString) +
    userPropertiesBytes(properties.userProperties) +
    (properties.serverKeepAlive === undefined ? 0 : 3) +
    textPropertyBytes(properties.serverReference)
  );
}

function writeConnackProperties(to: Buffer, from: number, properties: ConnackProperties): void {
  let at = writeUint32Property(to, from, PropertyId.sessionExpiryInterval, properties.sessionExpiryInterval);
  at = writeUint16Property(to, at, PropertyId.receiveMaximum, properties.receiveMaximum);
  at = writeUint32Property(to, at, PropertyId.maximumPacketSize, properties.maximumPacketSize);
  at = writeTextProperty(to, at, PropertyId.assignedClientIdentifier, properties.assignedClientIdentifier);
  at = writeUint16Property(to, at, PropertyId.topicAliasMaximum, properties.topicAliasMaximum);
  at = writeTextProperty(to, at, PropertyId.reasonString, properties.reasonString);
  at = writeUserProperties(to, at, PropertyId.userProperty, properties.userProperties);
  at = writeUint16Property(to, at, PropertyId.serverKeepAlive, properties.serverKeepAlive);
  writeTextProperty(to, at, PropertyId.serverReference, properties.serverReference);
}

/**
 * PUBACK, PUBREC, PUBREL or PUBCOMP. MQTT 3.1.1 has no reason: a refused message is then acknowledged, or the caller closes the
 * connection [MQTT-3.3.5-2].
 */
export function encodeAcknowledgement(
  version: ProtocolVersion,
  type: AcknowledgementPacket['type'],
  packetId: number,
  reasonCode: ReasonCode,
  reasonString?: string,
): Buffer {
  const first = type === PacketType.pubrel ? (type << 4) | 2 : type << 4;
  const hasReason = version === 5 && (reasonCode !== 0 || reasonString !== undefined);
  if (!hasReason) {
    const packet = Buffer.allocUnsafe(4);
    packet[0] = first;
    packet[1] = 2;
    writeUint16(packet, 2, packetId);
    return packet;
  }
  const length = textPropertyBytes(reasonString);
  const packet = start(first, 3 + (length === 0 ? 0 : variableBytes(length) + length));
  const at = writeUint16(packet, bodyOf(packet), packetId);
  packet[at] = reasonCode;
  if (length > 0)
    writeTextProperty(packet, writeVariable(packet, at + 1, length), PropertyId.reasonString, reasonString);
  return packet;
}

/** One reason code for each filter of SUBSCRIBE: the granted QoS, or a refusal, for which MQTT 3.1.1 has one code [MQTT-3.9.3-2]. */
export function encodeSuback(version: ProtocolVersion, packetId: number, reasonCodes: readonly number[]): Buffer {
  const packet = start(PacketType.suback << 4, (version === 5 ? 3 : 2) + reasonCodes.length);
  let at = writeUint16(packet, bodyOf(packet), packetId);
  if (version === 5) at = writeVariable(packet, at, 0);
  for (const code of reasonCodes) {
    packet[at] = version === 4 && code >= SUBACK_FAILURE ? SUBACK_FAILURE : code;
    at += 1;
  }
  return packet;
}

/** One reason code for each filter of UNSUBSCRIBE; none with MQTT 3.1.1. */
export function encodeUnsuback(version: ProtocolVersion, packetId: number, reasonCodes: readonly number[]): Buffer {
  const codes = version === 5 ? reasonCodes : [];
  const packet = start(PacketType.unsuback << 4, (version === 5 ? 3 : 2) + codes.length);
  let at = writeUint16(packet, bodyOf(packet), packetId);
  if (version === 5) at = writeVariable(packet, at, 0);
  packet.set(codes, at);
  return packet;
}

export interface DisconnectReason {
  readonly reasonString?: string;
  readonly serverReference?: string;
}

/** DISCONNECT from the server, which only MQTT 5 has. It may not carry a Session Expiry Interval [MQTT 5: MQTT-3.14.2-2]. */
export function encodeDisconnect(
  reasonCode: ReasonCode,
  { reasonString, serverReference }: DisconnectReason = {},
): Buffer {
  const length = textPropertyBytes(reasonString) + textPropertyBytes(serverReference);
  const packet = start(PacketType.disconnect << 4, 1 + variableBytes(length) + length);
  const at = bodyOf(packet);
  packet[at] = reasonCode;
  const properties = writeVariable(packet, at + 1, length);
  const next = writeTextProperty(packet, properties, PropertyId.reasonString, reasonString);
  writeTextProperty(packet, next, PropertyId.serverReference, serverReference);
  return packet;
}

/** A packet with its fixed header; the body is not written. */
function start(first: number, remaining: number): Buffer {
  const packet = Buffer.allocUnsafe(1 + variableBytes(remaining) + remaining);
  packet[0] = first;
  writeVariable(packet, 1, remaining);
  return packet;
}

function bodyOf(packet: Buffer): number {
  let at = 2;
  while ((packet[at - 1] as number) >= 0x80) at += 1;
  return at;
}
