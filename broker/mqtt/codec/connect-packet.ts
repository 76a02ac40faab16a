/** Reads CONNECT strictly (MQTT 3.1.1 and 5, section 3.1): every field in its place, and nothing after the last. */

import type { ConnectPacket, ProtocolVersion, Qos, WillMessage } from '../packets.ts';
import { type FieldReader, reader } from './field-reader.ts';
import type { PacketLimits } from './packet-limits.ts';
import { messageProperties, NO_PROPERTIES, readProperties } from './properties.ts';
import { CONNECT_PROPERTIES, WILL_PROPERTIES } from './property-table.ts';
import { FAULTS, type Fault } from './protocol-violations.ts';

/** MQTT 3.1.1 has no such property: its sessions do not end by themselves. */
const NEVER = 0xffff_ffff;
const RECEIVE_MAXIMUM = 65_535;

/** The version that CONNECT states, or why the broker does not speak it [MQTT-3.1.2-1, MQTT-3.1.2-2]. */
export function readVersion(bytes: Buffer, start: number, end: number): ProtocolVersion | Fault {
  if (start + 2 > end) return FAULTS.truncated;
  const nameEnd = start + 2 + bytes.readUInt16BE(start);
  if (nameEnd + 1 > end) return FAULTS.truncated;
  const name = bytes.toString('latin1', start + 2, Math.min(nameEnd, start + 10));
  if (name === 'MQIsdp') return FAULTS.protocolLevel; // MQTT 3.1
  if (name !== 'MQTT') return FAULTS.protocolName;
  const level = bytes[nameEnd];
  return level === 4 || level === 5 ? level : FAULTS.protocolLevel;
}

/** Reads what follows the protocol version. */
export function readConnect(
  bytes: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
  limits: PacketLimits,
): ConnectPacket | Fault {
  reader.open(bytes, start + 7, end); // 7: the protocol name and version, which `readVersion` has read.
  const connect = readFields(version, limits);
  return reader.close() ?? connect;
}

function readFields(version: ProtocolVersion, limits: PacketLimits): ConnectPacket {
  const flags = reader.byte();
  checkFlags(flags, version);
  const keepAlive = reader.uint16();
  const properties = version === 5 ? readProperties(reader, CONNECT_PROPERTIES, limits) : NO_PROPERTIES;
  const { authenticationMethod, receiveMaximum = RECEIVE_MAXIMUM, maximumPacketSize = Infinity } = properties;
  if (properties.hasAuthenticationData && authenticationMethod === undefined) reader.fail(FAULTS.authenticationData);
  const cleanStart = (flags & 0x02) !== 0;
  const clientId = reader.text();
  const will = (flags & 0x04) === 0 ? undefined : readWill(reader, flags, version, limits);
  if ((flags & 0x80) !== 0) reader.skipText(); // user name
  if ((flags & 0x40) !== 0) reader.skipBinary(); // password
  if (!reader.isAtEnd) reader.fail(FAULTS.trailing);
  if (clientId === '' && version === 4) reader.fail(FAULTS.clientIdEmpty);
  return {
    version,
    clientId,
    cleanStart,
    keepAlive,
    will,
    sessionExpiryInterval: version === 5 ? (properties.sessionExpiryInterval ?? 0) : cleanStart ? 0 : NEVER,
    receiveMaximum,
    maximumPacketSize,
    topicAliasMaximum: properties.topicAliasMaximum,
    wantsProblemInformation: properties.wantsProblemInformation,
    wantsResponseInformation: properties.wantsResponseInformation,
    authenticationMethod,
    sdkVersion: properties.sdkVersion,
  };
}

function checkFlags(flags: number, version: ProtocolVersion): void {
  const hasWill = (flags & 0x04) !== 0;
  if ((flags & 0x01) !== 0) reader.fail(FAULTS.connectReserved);
  else if (!hasWill && (flags & 0x18) !== 0) reader.fail(FAULTS.willFlags);
  else if (!hasWill && (flags & 0x20) !== 0) reader.fail(FAULTS.willRetain);
  else if ((flags & 0x18) === 0x18) reader.fail(FAULTS.willQos);
  // MQTT 5 allows a password without a user name (section 3.1.2.9).
  else if ((flags & 0xc0) === 0x40 && version === 4) reader.fail(FAULTS.passwordAlone);
}

function readWill(from: FieldReader, flags: number, version: ProtocolVersion, limits: PacketLimits): WillMessage {
  const properties = version === 5 ? readProperties(from, WILL_PROPERTIES, limits) : NO_PROPERTIES;
  return {
    topic: from.topicName(limits),
    payload: from.binary(),
    qos: ((flags >> 3) & 0x03) as Qos,
    retain: (flags & 0x20) !== 0,
    properties: messageProperties(properties),
    messageExpiryInterval: properties.messageExpiryInterval,
    delayInterval: properties.willDelayInterval,
  };
}
