/** The body of each packet that a client may send, checked against MQTT 3.1.1. Pure; whole packets only. */

import { type TextFault, type TextLimits, textFault, topicFilterFault, topicNameFault } from './codec/mqtt-text.ts';
import { type ProtocolViolation, VIOLATIONS } from './protocol-violations.ts';

/** The fields of CONNECT that the authorizer needs. aedes reads the packet for itself. */
export interface ConnectFields {
  readonly clientId: string;
  readonly clean: boolean;
  /** Seconds; 0: none. */
  readonly keepalive: number;
  readonly will: WillFields | undefined;
}

export interface WillFields {
  readonly topic: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly payloadBytes: number;
}

export interface PacketBodyLimits extends TextLimits {
  readonly filtersPerPacket: number;
}

/** Reads CONNECT strictly (MQTT 3.1.1, section 3.1): every field in its place, and nothing after the last. */
export function readConnect(
  bytes: Buffer,
  start: number,
  end: number,
  limits: TextLimits,
): { readonly connect: ConnectFields } | { readonly violation: ProtocolViolation } {
  let at = start;
  // Name and level come first, so that a client of another version gets the right return code [MQTT-3.1.2-2].
  if (start + 2 > end) return refuse(VIOLATIONS.truncated);
  const nameEnd = start + 2 + length16(bytes, start);
  if (nameEnd + 1 > end) return refuse(VIOLATIONS.truncated);
  const name = bytes.toString('latin1', start + 2, Math.min(nameEnd, start + 10));
  if (name === 'MQIsdp') return refuse(VIOLATIONS.protocolLevel); // MQTT 3.1
  if (name !== 'MQTT') return refuse(VIOLATIONS.protocolName);
  if (bytes[nameEnd] !== 4) return refuse(VIOLATIONS.protocolLevel);

  at = nameEnd + 1;
  if (at + 3 > end) return refuse(VIOLATIONS.truncated);
  const flags = bytes[at] as number;
  const keepalive = length16(bytes, at + 1);
  at += 3;
  const clean = (flags & 0x02) !== 0;
  const hasWill = (flags & 0x04) !== 0;
  const willQos = (flags >> 3) & 0x03;
  const willRetain = (flags & 0x20) !== 0;
  const hasPassword = (flags & 0x40) !== 0;
  const hasUserName = (flags & 0x80) !== 0;
  if ((flags & 0x01) !== 0) return refuse(VIOLATIONS.connectReserved);
  if (!hasWill && (willQos !== 0 || willRetain)) return refuse(VIOLATIONS.willFlags);
  if (willQos === 3) return refuse(VIOLATIONS.willQos);
  if (hasPassword && !hasUserName) return refuse(VIOLATIONS.passwordAlone);

  const idEnd = fieldEnd(bytes, at, end);
  if (idEnd < 0) return refuse(VIOLATIONS.truncated);
  const idFault = textFault(bytes, at + 2, idEnd);
  if (idFault !== undefined) return refuse(textViolation(idFault));
  const clientId = bytes.toString('utf8', at + 2, idEnd);
  at = idEnd;

  let will: WillFields | undefined;
  if (hasWill) {
    const topicEnd = fieldEnd(bytes, at, end);
    if (topicEnd < 0) return refuse(VIOLATIONS.truncated);
    const fault = topicNameFault(bytes, at + 2, topicEnd, limits);
    if (fault !== undefined) return refuse(textViolation(fault));
    const payloadEnd = fieldEnd(bytes, topicEnd, end);
    if (payloadEnd < 0) return refuse(VIOLATIONS.truncated);
    const topic = bytes.toString('utf8', at + 2, topicEnd);
    will = { topic, qos: willQos, retain: willRetain, payloadBytes: payloadEnd - topicEnd - 2 };
    at = payloadEnd;
  }
  if (hasUserName) {
    const userEnd = fieldEnd(bytes, at, end);
    if (userEnd < 0) return refuse(VIOLATIONS.truncated);
    const fault = textFault(bytes, at + 2, userEnd);
    if (fault !== undefined) return refuse(textViolation(fault));
    at = userEnd;
  }
  if (hasPassword) {
    const passwordEnd = fieldEnd(bytes, at, end);
    if (passwordEnd < 0) return refuse(VIOLATIONS.truncated);
    at = passwordEnd;
  }
  if (at !== end) return refuse(VIOLATIONS.trailing);
  if (clientId === '') return refuse(VIOLATIONS.clientIdEmpty);
  return { connect: { clientId, clean, keepalive, will } };
}

/** SUBSCRIBE (3.8): identifier, then filters each with a QoS byte. */
export function subscribeViolation(
  bytes: Buffer,
  start: number,
  end: number,
  limits: PacketBodyLimits,
): ProtocolViolation | undefined {
  return filterListViolation(bytes, start, end, limits, { hasQos: true, empty: VIOLATIONS.subscribeEmpty });
}

/** UNSUBSCRIBE (3.10): identifier, then filters. */
export function unsubscribeViolation(
  bytes: Buffer,
  start: number,
  end: number,
  limits: PacketBodyLimits,
): ProtocolViolation | undefined {
  return filterListViolation(bytes, start, end, limits, { hasQos: false, empty: VIOLATIONS.unsubscribeEmpty });
}

function filterListViolation(
  bytes: Buffer,
  start: number,
  end: number,
  limits: PacketBodyLimits,
  { hasQos, empty }: { readonly hasQos: boolean; readonly empty: ProtocolViolation },
): ProtocolViolation | undefined {
  if (start + 2 > end) return VIOLATIONS.truncated;
  if (length16(bytes, start) === 0) return VIOLATIONS.packetId;
  if (start + 2 === end) return empty;
  let filters = 0;
  for (let at = start + 2; at < end; ) {
    const filterEnd = fieldEnd(bytes, at, end);
    const entryEnd = hasQos ? filterEnd + 1 : filterEnd;
    if (filterEnd < 0 || entryEnd > end) return VIOLATIONS.truncated;
    const fault = topicFilterFault(bytes, at + 2, filterEnd, limits);
    if (fault !== undefined) return filterViolation(fault);
    if (hasQos && (bytes[filterEnd] as number) > 2) return VIOLATIONS.subscribeQos;
    filters += 1;
    if (filters > limits.filtersPerPacket) return VIOLATIONS.tooManyFilters;
    at = entryEnd;
  }
  return undefined;
}

/** End of a field with a two-byte length in front, or -1 when it ends beyond the packet. */
export function fieldEnd(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 > end) return -1;
  const fieldEnds = at + 2 + length16(bytes, at);
  return fieldEnds > end ? -1 : fieldEnds;
}

export function length16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

export function textViolation(fault: TextFault): ProtocolViolation {
  switch (fault) {
    case 'utf8':
      return VIOLATIONS.utf8;
    case 'nul':
      return VIOLATIONS.nul;
    case 'empty':
      return VIOLATIONS.topicEmpty;
    case 'too_long':
      return VIOLATIONS.topicTooLong;
    case 'too_deep':
      return VIOLATIONS.topicTooDeep;
    case 'hash':
    case 'plus':
      return VIOLATIONS.topicWildcard;
  }
}

function filterViolation(fault: TextFault): ProtocolViolation {
  return fault === 'hash' || fault === 'plus' ? VIOLATIONS.filterWildcard : textViolation(fault);
}

function refuse(violation: ProtocolViolation): { readonly violation: ProtocolViolation } {
  return { violation };
}
