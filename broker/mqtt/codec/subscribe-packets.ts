/** Reads SUBSCRIBE (section 3.8) and UNSUBSCRIBE (3.10), also filters of shared subscriptions (MQTT 5, 4.8.2), which both versions may use. */

import type { ProtocolVersion, Qos, RequestedSubscription, SubscribePacket, UnsubscribePacket } from '../packets.ts';
import { faultOfText, reader } from './field-reader.ts';
import { type TextFault, textFault, topicFilterFault } from './mqtt-text.ts';
import type { PacketLimits } from './packet-limits.ts';
import { NO_PROPERTIES, readProperties } from './properties.ts';
import { SUBSCRIBE_PROPERTIES, UNSUBSCRIBE_PROPERTIES } from './property-table.ts';
import { FAULTS, type Fault } from './protocol-violations.ts';

const SHARE = Buffer.from('$share/');
const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;

/** `start`: the first byte after the fixed header. */
export function readSubscribe(
  bytes: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
  limits: PacketLimits,
): SubscribePacket | Fault {
  reader.open(bytes, start, end);
  const packetId = readPacketId();
  const properties = version === 5 ? readProperties(reader, SUBSCRIBE_PROPERTIES, limits) : NO_PROPERTIES;
  if (reader.isAtEnd) reader.fail(FAULTS.subscribeEmpty);
  const subscriptions: RequestedSubscription[] = [];
  while (!reader.isAtEnd) {
    const filter = reader.checkedText((text, from, to) => filterFault(text, from, to, limits));
    const options = reader.byte();
    checkOptions(options, version, filter);
    if (subscriptions.length >= limits.filtersPerPacket) reader.fail(FAULTS.tooManyFilters);
    subscriptions.push({
      filter,
      qos: (options & 0x03) as Qos,
      noLocal: (options & 0x04) !== 0,
      retainAsPublished: (options & 0x08) !== 0,
      retainHandling: ((options >> 4) & 0x03) as 0 | 1 | 2,
    });
  }
  const { subscriptionIdentifier } = properties;
  return reader.close() ?? { packetId, subscriptions, subscriptionIdentifier };
}

/** `start`: the first byte after the fixed header. */
export function readUnsubscribe(
  bytes: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
  limits: PacketLimits,
): UnsubscribePacket | Fault {
  reader.open(bytes, start, end);
  const packetId = readPacketId();
  if (version === 5) readProperties(reader, UNSUBSCRIBE_PROPERTIES, limits);
  if (reader.isAtEnd) reader.fail(FAULTS.unsubscribeEmpty);
  const filters: string[] = [];
  while (!reader.isAtEnd) {
    filters.push(reader.checkedText((text, from, to) => filterFault(text, from, to, limits)));
    if (filters.length > limits.filtersPerPacket) reader.fail(FAULTS.tooManyFilters);
  }
  return reader.close() ?? { packetId, filters };
}

function readPacketId(): number {
  const packetId = reader.uint16();
  if (packetId === 0) reader.fail(FAULTS.packetId);
  return packetId;
}

function checkOptions(options: number, version: ProtocolVersion, filter: string): void {
  if (version === 4) {
    if (options > 2) reader.fail(FAULTS.subscribeQos);
    return;
  }
  if ((options & 0xc0) !== 0) reader.fail(FAULTS.subscribeReserved);
  else if ((options & 0x03) === 0x03) reader.fail(FAULTS.subscribeQos);
  else if ((options & 0x30) === 0x30) reader.fail(FAULTS.retainHandling);
  else if ((options & 0x04) !== 0 && filter.startsWith('$share/')) reader.fail(FAULTS.sharedNoLocal);
}

function filterFault(bytes: Uint8Array, start: number, end: number, limits: PacketLimits): Fault | undefined {
  if (end - start > limits.topicBytes) return FAULTS.filterTooLong;
  let from = start;
  if (startsWithShare(bytes, start, end)) {
    const nameStart = start + SHARE.length;
    const nameEnd = bytes.subarray(0, end).indexOf(SLASH, nameStart);
    if (nameEnd === nameStart || nameStart === end) return FAULTS.shareName;
    const fault = textFault(bytes, nameStart, nameEnd < 0 ? end : nameEnd);
    if (fault !== undefined) return faultOfText(fault);
    if (nameEnd < 0 || nameEnd + 1 === end || hasWildcard(bytes, nameStart, nameEnd)) return FAULTS.shareSyntax;
    from = nameEnd + 1;
    if (startsWithShare(bytes, from, end)) return FAULTS.shareSyntax; // A shared subscription of a shared subscription.
  }
  const fault = topicFilterFault(bytes, from, end, limits);
  return fault === undefined ? undefined : faultOfFilter(fault);
}

function startsWithShare(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start < SHARE.length) return false;
  for (let index = 0; index < SHARE.length; index += 1) {
    if (bytes[start + index] !== SHARE[index]) return false;
  }
  return true;
}

function hasWildcard(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    if (bytes[at] === PLUS || bytes[at] === HASH) return true;
  }
  return false;
}

function faultOfFilter(fault: TextFault): Fault {
  switch (fault) {
    case 'hash':
      return FAULTS.filterHash;
    case 'plus':
      return FAULTS.filterPlus;
    case 'too_long':
      return FAULTS.filterTooLong;
    case 'too_deep':
      return FAULTS.filterTooDeep;
    default:
      return faultOfText(fault);
  }
}
