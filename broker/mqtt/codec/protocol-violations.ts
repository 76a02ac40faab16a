/**
 * Every way in which a packet can break MQTT 3.1.1, MQTT 5 or a limit. A fault is independent of version and packet type; a violation
 * is a fault with both. Violations are created once each, so that a refusal allocates nothing.
 *
 * Where MQTT 5 gives no reason code, a packet that cannot be parsed or has an ill-formed topic is malformed (0x81: codes 0x8F and 0x90
 * are for topics that are "correctly formed"), and a packet whose parsed data is not allowed is a protocol error (0x82), as section 1.2
 * defines the two.
 */

import { ReasonCode } from '@rollcall/protocol';
import { PacketType, type ProtocolVersion } from '../packets.ts';

export interface ProtocolViolation {
  /** The statement or section of the client's MQTT version that is broken, or `limit` for a limit of the broker. */
  readonly clause: string;
  readonly description: string;
  /** What DISCONNECT or CONNACK of MQTT 5 reports. */
  readonly reasonCode: ReasonCode;
  /** The name of the packet, such as PUBLISH. */
  readonly packet: string;
  readonly isLimit: boolean;
  /** Sent in CONNACK before the connection is closed; undefined: no CONNACK. */
  readonly connack: ReasonCode | undefined;
}

/** The clauses differ by version; `limit` has none. */
type Clauses = 'limit' | { readonly 4: string; readonly 5: string };

export class Fault {
  readonly #clauses: Clauses;
  readonly #description: string;
  readonly #reasonCode: ReasonCode;
  /** CONNACK of MQTT 3.1.1, and of a client of unknown version. */
  readonly #connack: ReasonCode | undefined;
  readonly #violations: ProtocolViolation[] = [];

  constructor(clauses: Clauses, reasonCode: ReasonCode, description: string, connack?: ReasonCode) {
    this.#clauses = clauses;
    this.#description = description;
    this.#reasonCode = reasonCode;
    this.#connack = connack;
  }

  /** The violation by a packet of a client. The version is undefined before CONNECT has stated it. */
  in(type: number, version: ProtocolVersion | undefined): ProtocolViolation {
    const index = type * 3 + (version === undefined ? 0 : version - 3);
    this.#violations[index] ??= this.#create(type, version);
    return this.#violations[index];
  }

  #create(type: number, version: ProtocolVersion | undefined): ProtocolViolation {
    const isConnect = type === PacketType.connect;
    return Object.freeze({
      clause: this.#clauses === 'limit' ? 'limit' : this.#clauses[version ?? 4],
      description: this.#description,
      reasonCode: this.#reasonCode,
      packet: PACKET_NAMES[type] as string,
      isLimit: this.#clauses === 'limit',
      // A server of MQTT 5 may answer an invalid CONNECT (MQTT 5, 3.1.4); after CONNACK it sends DISCONNECT.
      connack: isConnect && version === 5 && this !== FAULTS.secondConnect ? this.#reasonCode : this.#connack,
    });
  }
}

const PACKET_NAMES = [
  'packet type 0',
  ...Object.keys(PacketType).map((name) => name.toUpperCase()),
] as readonly string[];

const { malformedPacket, protocolError, packetTooLarge, quotaExceeded, topicAliasInvalid } = ReasonCode;
const { topicNameInvalid, topicFilterInvalid, unsupportedProtocolVersion, clientIdentifierNotValid } = ReasonCode;
const { receiveMaximumExceeded } = ReasonCode;

function malformed(v4: string, v5: string, description: string): Fault {
  return new Fault({ 4: v4, 5: v5 }, malformedPacket, description);
}

/** Data that MQTT does not allow. */
function notAllowed(v4: string, v5: string, description: string): Fault {
  return new Fault({ 4: v4, 5: v5 }, protocolError, description);
}

/** A fault that only MQTT 5 knows. */
function notAllowed5(clause: string, description: string): Fault {
  return notAllowed(clause, clause, description);
}

function limit(reasonCode: ReasonCode, description: string): Fault {
  return new Fault('limit', reasonCode, description);
}

const MALFORMED_4 = 'MQTT-4.8.0-1';
const MALFORMED_5 = 'MQTT-4.13.1-1';

/** Clauses are those of MQTT 3.1.1 and of MQTT 5, in this order. */
export const FAULTS = {
  // Fixed header
  firstNotConnect: notAllowed('MQTT-3.1.0-1', 'MQTT-3.1.0-1', 'expected CONNECT as the first packet'),
  secondConnect: notAllowed('MQTT-3.1.0-2', 'MQTT-3.1.0-2', 'expected one CONNECT, found a second'),
  reservedType: malformed(MALFORMED_4, 'MQTT 5, 2.1.2', 'expected a packet type that the version defines'),
  serverPacket: notAllowed(MALFORMED_4, 'MQTT 5, 2.1.2', 'expected a packet type that a client may send'),
  authUnexpected: notAllowed5('MQTT-4.12.0-7', 'expected no AUTH, since CONNECT had no authentication method'),
  flags: malformed('MQTT-2.2.2-2', 'MQTT-2.1.3-1', 'expected the reserved flags of the packet type'),
  publishQos: malformed('MQTT-3.3.1-4', 'MQTT-3.3.1-4', 'expected QoS 0, 1 or 2'),
  publishDup: notAllowed('MQTT-3.3.1-2', 'MQTT-3.3.1-2', 'expected DUP 0 with QoS 0'),
  lengthMalformed: malformed(
    'MQTT-2.2.3',
    'MQTT-1.5.5-1',
    'expected a remaining length of at most four bytes, shortest form',
  ),
  lengthWrong: malformed(MALFORMED_4, MALFORMED_5, 'expected the length of the packet type'),
  packetTooLarge: limit(packetTooLarge, 'the packet is larger than allowed'),
  connectTooLarge: limit(packetTooLarge, 'the CONNECT packet is larger than allowed'),
  // Body
  truncated: malformed(MALFORMED_4, MALFORMED_5, 'a field ends beyond its packet'),
  trailing: malformed(MALFORMED_4, MALFORMED_5, 'bytes are left after the last field'),
  packetId: notAllowed('MQTT-2.3.1-1', 'MQTT-2.2.1-3', 'expected a packet identifier other than 0'),
  utf8: malformed('MQTT-1.5.3-1', 'MQTT-1.5.4-1', 'expected well-formed UTF-8'),
  nul: malformed('MQTT-1.5.3-2', 'MQTT-1.5.4-2', 'expected text without U+0000'),
  topicEmpty: malformed('MQTT-4.7.3-1', 'MQTT-4.7.3-1', 'expected a topic of at least one character'),
  topicTooLong: limit(topicNameInvalid, 'the topic has more bytes than allowed'),
  topicTooDeep: limit(topicNameInvalid, 'the topic has more levels than allowed'),
  topicWildcard: malformed('MQTT-3.3.2-2', 'MQTT-3.3.2-2', 'expected a topic name without wildcards'),
  filterTooLong: limit(topicFilterInvalid, 'the topic filter has more bytes than allowed'),
  filterTooDeep: limit(topicFilterInvalid, 'the topic filter has more levels than allowed'),
  filterHash: malformed('MQTT-4.7.1-2', 'MQTT-4.7.1-1', 'expected # alone in the last level'),
  filterPlus: malformed('MQTT-4.7.1-3', 'MQTT-4.7.1-2', 'expected + alone in its level'),
  shareName: malformed('MQTT-4.7.2-1', 'MQTT-4.8.2-1', 'expected a share name of at least one character after $share/'),
  shareSyntax: malformed(
    'MQTT-4.7.2-1',
    'MQTT-4.8.2-2',
    'expected a share name without wildcards, then / and a topic filter',
  ),
  subscribeEmpty: notAllowed('MQTT-3.8.3-3', 'MQTT-3.8.3-2', 'expected at least one topic filter'),
  subscribeQos: notAllowed('MQTT-3.8.3-4', 'MQTT 5, 3.8.3.1', 'expected a requested QoS of 0, 1 or 2'),
  subscribeReserved: malformed('MQTT-3.8.3-4', 'MQTT-3.8.3-5', 'expected the reserved subscription options to be 0'),
  retainHandling: notAllowed5('MQTT 5, 3.8.3.1', 'expected a Retain Handling of 0, 1 or 2'),
  sharedNoLocal: notAllowed5('MQTT-3.8.3-4', 'expected No Local 0 with a shared subscription'),
  unsubscribeEmpty: notAllowed('MQTT-3.10.3-2', 'MQTT-3.10.3-2', 'expected at least one topic filter'),
  tooManyFilters: limit(quotaExceeded, 'the packet has more filters than allowed'),
  // CONNECT
  protocolName: new Fault(
    { 4: 'MQTT-3.1.2-1', 5: 'MQTT-3.1.2-1' },
    unsupportedProtocolVersion,
    'expected the protocol name MQTT',
  ),
  protocolLevel: new Fault(
    { 4: 'MQTT-3.1.2-2', 5: 'MQTT-3.1.2-2' },
    unsupportedProtocolVersion,
    'expected protocol version 4 or 5',
    unsupportedProtocolVersion,
  ),
  connectReserved: malformed('MQTT-3.1.2-3', 'MQTT-3.1.2-3', 'expected the reserved connect flag to be 0'),
  willFlags: notAllowed('MQTT-3.1.2-13', 'MQTT-3.1.2-11', 'expected will QoS 0 without a will'),
  willRetain: notAllowed('MQTT-3.1.2-15', 'MQTT-3.1.2-13', 'expected will retain 0 without a will'),
  willQos: malformed('MQTT-3.1.2-14', 'MQTT-3.1.2-12', 'expected a will QoS of 0, 1 or 2'),
  passwordAlone: notAllowed('MQTT-3.1.2-22', 'MQTT-3.1.2-22', 'expected no password without a user name'),
  clientIdEmpty: new Fault(
    { 4: 'MQTT-3.1.3-8', 5: 'MQTT-3.1.3-8' },
    clientIdentifierNotValid,
    'expected a client id',
    clientIdentifierNotValid,
  ),
  // Properties of MQTT 5
  propertyLength: malformed(
    'MQTT-1.5.5-1',
    'MQTT-1.5.5-1',
    'expected a variable byte integer of at most four bytes, shortest form',
  ),
  propertyLengthMissing: malformed('MQTT-2.2.2-1', 'MQTT-2.2.2-1', 'expected a property length'),
  propertiesTooLong: malformed('MQTT 5, 2.2.2.1', 'MQTT 5, 2.2.2.1', 'the properties end beyond their packet'),
  propertyTruncated: malformed('MQTT 5, 2.2.2.1', 'MQTT 5, 2.2.2.1', 'a property ends beyond the properties'),
  propertyUnknown: malformed('MQTT 5, 2.2.2.2', 'MQTT 5, 2.2.2.2', 'expected a property that MQTT defines'),
  propertyMisplaced: malformed('MQTT 5, 2.2.2.2', 'MQTT 5, 2.2.2.2', 'expected a property of this packet type'),
  propertyBytes: limit(quotaExceeded, 'the packet has more bytes of properties than allowed'),
  userProperties: limit(quotaExceeded, 'the packet has more user properties than allowed'),
  payloadFormat: notAllowed5('MQTT 5, 3.3.2.3.2', 'expected a Payload Format Indicator of 0 or 1'),
  willPayloadFormat: notAllowed5('MQTT 5, 3.1.3.2.3', 'expected a Payload Format Indicator of 0 or 1'),
  topicMissing: notAllowed('MQTT-4.7.3-1', 'MQTT 5, 3.3.2.1', 'expected a topic name or a topic alias'),
  topicAliasZero: new Fault(
    { 4: 'MQTT-3.3.2-8', 5: 'MQTT-3.3.2-8' },
    topicAliasInvalid,
    'expected a topic alias greater than 0',
  ),
  topicAliasTooLarge: new Fault(
    { 4: 'MQTT-3.3.2-9', 5: 'MQTT-3.3.2-9' },
    topicAliasInvalid,
    'expected a topic alias up to the Topic Alias Maximum of CONNACK',
  ),
  responseTopic: malformed('MQTT-3.3.2-14', 'MQTT-3.3.2-14', 'expected a response topic without wildcards'),
  publishSubscriptionIdentifier: notAllowed5('MQTT-3.3.4-6', 'expected no Subscription Identifier from a client'),
  subscriptionIdentifier: notAllowed5('MQTT 5, 3.8.2.1.2', 'expected a Subscription Identifier greater than 0'),
  receiveMaximum: notAllowed5('MQTT 5, 3.1.2.11.3', 'expected a Receive Maximum greater than 0'),
  maximumPacketSize: notAllowed5('MQTT 5, 3.1.2.11.4', 'expected a Maximum Packet Size greater than 0'),
  requestResponse: notAllowed5('MQTT 5, 3.1.2.11.6', 'expected Request Response Information 0 or 1'),
  requestProblem: notAllowed5('MQTT 5, 3.1.2.11.7', 'expected Request Problem Information 0 or 1'),
  authenticationData: notAllowed5('MQTT 5, 3.1.2.11.10', 'expected no Authentication Data without a method'),
  pubackReason: notAllowed5('MQTT-3.4.2-1', 'expected a reason code of PUBACK that a client may send'),
  pubrecReason: notAllowed5('MQTT-3.5.2-1', 'expected a reason code of PUBREC that a client may send'),
  pubrelReason: notAllowed5('MQTT-3.6.2-1', 'expected a reason code of PUBREL'),
  pubcompReason: notAllowed5('MQTT-3.7.2-1', 'expected a reason code of PUBCOMP'),
  disconnectReason: notAllowed5('MQTT-3.14.2-1', 'expected a reason code of DISCONNECT that a client may send'),
  // What a packet means to the session
  topicAliasUnknown: notAllowed5('MQTT 5, 3.3.2.3.4', 'expected a topic alias that was set before'),
  receiveMaximumExceeded: new Fault(
    { 4: 'limit', 5: 'MQTT-3.3.4-7' },
    receiveMaximumExceeded,
    'expected no more unacknowledged messages than the Receive Maximum of CONNACK',
  ),
  disconnectExpiry: notAllowed5(
    'MQTT 5, 3.14.2.2.2',
    'expected no Session Expiry Interval greater than 0, since that of CONNECT was 0',
  ),
} as const satisfies Record<string, Fault>;
