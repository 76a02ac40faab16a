/** Reads the properties of one packet (MQTT 5, section 2.2.2). Every text is checked, also one that nobody uses. */

import type { MessageProperties, UserProperty } from '@rollcall/protocol';
import type { FieldReader } from './field-reader.ts';
import type { PacketLimits } from './packet-limits.ts';
import { FAULTS } from './protocol-violations.ts';

/** Property identifiers (MQTT 5, table 2-4). */
export const PropertyId = {
  payloadFormatIndicator: 0x01,
  messageExpiryInterval: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionIdentifier: 0x0b,
  sessionExpiryInterval: 0x11,
  assignedClientIdentifier: 0x12,
  serverKeepAlive: 0x13,
  authenticationMethod: 0x15,
  authenticationData: 0x16,
  requestProblemInformation: 0x17,
  willDelayInterval: 0x18,
  requestResponseInformation: 0x19,
  responseInformation: 0x1a,
  serverReference: 0x1c,
  reasonString: 0x1f,
  receiveMaximum: 0x21,
  topicAliasMaximum: 0x22,
  topicAlias: 0x23,
  maximumQos: 0x24,
  retainAvailable: 0x25,
  userProperty: 0x26,
  maximumPacketSize: 0x27,
  wildcardSubscriptionAvailable: 0x28,
  subscriptionIdentifierAvailable: 0x29,
  sharedSubscriptionAvailable: 0x2a,
} as const;

/** One bit for each identifier; 0 for a number that is none. */
const BIT: readonly number[] = bitsOfIdentifiers();
const USER_PROPERTY_BIT = BIT[PropertyId.userProperty] as number;

/** The properties that a packet type may have: their bits. */
export const PropertySet = {
  connect: setOf(
    'sessionExpiryInterval',
    'receiveMaximum',
    'maximumPacketSize',
    'topicAliasMaximum',
    'requestResponseInformation',
    'requestProblemInformation',
    'userProperty',
    'authenticationMethod',
    'authenticationData',
  ),
  will: setOf(
    'willDelayInterval',
    'payloadFormatIndicator',
    'messageExpiryInterval',
    'contentType',
    'responseTopic',
    'correlationData',
    'userProperty',
  ),
  publish: setOf(
    'payloadFormatIndicator',
    'messageExpiryInterval',
    'topicAlias',
    'responseTopic',
    'correlationData',
    'userProperty',
    'subscriptionIdentifier',
    'contentType',
  ),
  acknowledgement: setOf('reasonString', 'userProperty'),
  subscribe: setOf('subscriptionIdentifier', 'userProperty'),
  unsubscribe: setOf('userProperty'),
  disconnect: setOf('sessionExpiryInterval', 'reasonString', 'userProperty', 'serverReference'),
} as const;

/** What was found. Reason String, Server Reference and Authentication Data are checked and dropped. */
export class Properties {
  payloadFormatIndicator: 0 | 1 | undefined = undefined;
  messageExpiryInterval: number | undefined = undefined;
  contentType: string | undefined = undefined;
  responseTopic: string | undefined = undefined;
  correlationData: Buffer | undefined = undefined;
  subscriptionIdentifier: number | undefined = undefined;
  sessionExpiryInterval: number | undefined = undefined;
  authenticationMethod: string | undefined = undefined;
  hasAuthenticationData = false;
  wantsProblemInformation = true;
  willDelayInterval = 0;
  wantsResponseInformation = false;
  receiveMaximum: number | undefined = undefined;
  topicAliasMaximum = 0;
  topicAlias: number | undefined = undefined;
  userProperties: UserProperty[] | undefined = undefined;
  maximumPacketSize: number | undefined = undefined;
}

/** Of a packet without any, and of every packet of MQTT 3.1.1. */
export const NO_PROPERTIES: Readonly<Properties> = Object.freeze(new Properties());

/** Reads Property Length and the properties. Faults are left in the reader. */
export function readProperties(reader: FieldReader, allowed: number, limits: PacketLimits): Readonly<Properties> {
  const length = reader.variableByteInteger();
  if (length === 0) return NO_PROPERTIES;
  const packetEnd = reader.enterProperties(length);
  if (length > limits.propertyBytes) reader.fail(FAULTS.propertyBytes);
  const found = new Properties();
  let seen = 0;
  let userProperties = 0;
  while (!reader.isAtEnd) {
    const identifier = reader.variableByteInteger();
    const bit = BIT[identifier] ?? 0;
    if (bit === 0) reader.fail(FAULTS.propertyUnknown);
    else if ((allowed & bit) === 0) reader.fail(FAULTS.propertyMisplaced);
    else if ((seen & bit) !== 0) reader.fail(FAULTS.propertyTwice);
    else if (bit === USER_PROPERTY_BIT) {
      userProperties += 1;
      if (userProperties > limits.userProperties) reader.fail(FAULTS.userProperties);
      else readUserProperty(reader, allowed, found);
    } else {
      seen |= bit;
      readProperty(identifier, reader, allowed, limits, found);
    }
  }
  reader.leaveProperties(packetEnd);
  return found;
}

function readProperty(
  identifier: number,
  reader: FieldReader,
  allowed: number,
  limits: PacketLimits,
  found: Properties,
): void {
  switch (identifier) {
    case PropertyId.payloadFormatIndicator: {
      const value = reader.byte();
      if (value > 1) reader.fail(FAULTS.payloadFormat);
      found.payloadFormatIndicator = value as 0 | 1;
      return;
    }
    case PropertyId.messageExpiryInterval:
      found.messageExpiryInterval = reader.uint32();
      return;
    case PropertyId.contentType:
      found.contentType = reader.text();
      return;
    case PropertyId.responseTopic:
      found.responseTopic = reader.topicName(limits, FAULTS.responseTopic);
      return;
    case PropertyId.correlationData:
      found.correlationData = reader.binary();
      return;
    case PropertyId.subscriptionIdentifier:
      found.subscriptionIdentifier = reader.variableByteInteger();
      if (allowed === PropertySet.publish) reader.fail(FAULTS.publishSubscriptionIdentifier);
      else if (found.subscriptionIdentifier === 0) reader.fail(FAULTS.subscriptionIdentifier);
      return;
    case PropertyId.sessionExpiryInterval:
      found.sessionExpiryInterval = reader.uint32();
      return;
    case PropertyId.authenticationMethod:
      found.authenticationMethod = reader.text();
      return;
    case PropertyId.authenticationData:
      found.hasAuthenticationData = true;
      reader.skipBinary();
      return;
    case PropertyId.requestProblemInformation: {
      const value = reader.byte();
      if (value > 1) reader.fail(FAULTS.requestProblem);
      found.wantsProblemInformation = value === 1;
      return;
    }
    case PropertyId.willDelayInterval:
      found.willDelayInterval = reader.uint32();
      return;
    case PropertyId.requestResponseInformation: {
      const value = reader.byte();
      if (value > 1) reader.fail(FAULTS.requestResponse);
      found.wantsResponseInformation = value === 1;
      return;
    }
    case PropertyId.receiveMaximum:
      found.receiveMaximum = reader.uint16();
      if (found.receiveMaximum === 0) reader.fail(FAULTS.receiveMaximum);
      return;
    case PropertyId.topicAliasMaximum:
      found.topicAliasMaximum = reader.uint16();
      return;
    case PropertyId.topicAlias:
      found.topicAlias = reader.uint16();
      if (found.topicAlias === 0) reader.fail(FAULTS.topicAliasZero);
      else if (found.topicAlias > limits.topicAliasMaximum) reader.fail(FAULTS.topicAliasTooLarge);
      return;
    case PropertyId.maximumPacketSize:
      found.maximumPacketSize = reader.uint32();
      if (found.maximumPacketSize === 0) reader.fail(FAULTS.maximumPacketSize);
      return;
    default: // Reason String, Server Reference
      reader.skipText();
  }
}

/** Only those of messages are passed on: in all other packets they are checked alone. */
function readUserProperty(reader: FieldReader, allowed: number, found: Properties): void {
  if (allowed !== PropertySet.publish && allowed !== PropertySet.will) {
    reader.skipText();
    reader.skipText();
    return;
  }
  const property: UserProperty = [reader.text(), reader.text()];
  if (found.userProperties === undefined) found.userProperties = [property];
  else found.userProperties.push(property);
}

/** What receivers of the message get; undefined for nothing. */
export function messageProperties(found: Readonly<Properties>): MessageProperties | undefined {
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = found;
  if (
    payloadFormatIndicator === undefined &&
    contentType === undefined &&
    responseTopic === undefined &&
    correlationData === undefined &&
    userProperties === undefined
  ) {
    return undefined;
  }
  return {
    ...(payloadFormatIndicator === undefined ? undefined : { payloadFormatIndicator }),
    ...(contentType === undefined ? undefined : { contentType }),
    ...(responseTopic === undefined ? undefined : { responseTopic }),
    ...(correlationData === undefined ? undefined : { correlationData }),
    ...(userProperties === undefined ? undefined : { userProperties }),
  };
}

function bitsOfIdentifiers(): readonly number[] {
  const bits: number[] = [];
  for (const [index, identifier] of Object.values(PropertyId).entries()) bits[identifier] = 1 << index;
  return Array.from(bits, (bit) => bit ?? 0);
}

function setOf(...names: readonly (keyof typeof PropertyId)[]): number {
  return names.reduce((bits, name) => bits | (BIT[PropertyId[name]] as number), 0);
}
