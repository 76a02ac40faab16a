/** Reads the properties of one packet (MQTT 5, section 2.2.2). Every text is checked, also one that nobody uses. */

import { type MessageProperties, parseSdkVersion, SDK_VERSION_PROPERTY, type UserProperty } from '@rollcall/protocol';
import type { FieldReader } from './field-reader.ts';
import type { PacketLimits } from './packet-limits.ts';
import {
  CONNECT_PROPERTIES,
  PROPERTY_BIT,
  PropertyId,
  type PropertySet,
  PUBLISH_PROPERTIES,
} from './property-table.ts';
import { FAULTS, type Fault } from './protocol-violations.ts';

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
  /** A User Property of CONNECT. */
  sdkVersion: string | undefined = undefined;
}

/** Of a packet without any, and of every packet of MQTT 3.1.1. */
export const NO_PROPERTIES: Readonly<Properties> = Object.freeze(new Properties());

/** Reads Property Length and the properties. Faults are left in the reader. */
export function readProperties(reader: FieldReader, set: PropertySet, limits: PacketLimits): Readonly<Properties> {
  if (reader.isAtEnd) reader.fail(FAULTS.propertyLengthMissing);
  const length = reader.variableByteInteger();
  if (length === 0) return NO_PROPERTIES;
  const packetEnd = reader.enterProperties(length);
  if (length > limits.propertyBytes) reader.fail(FAULTS.propertyBytes);
  const found = new Properties();
  let seen = 0;
  let userProperties = 0;
  while (!reader.isAtEnd) {
    const identifier = reader.variableByteInteger();
    const bit = PROPERTY_BIT[identifier] ?? 0;
    if (bit === 0) reader.fail(FAULTS.propertyUnknown);
    else if ((set.allowed & bit) === 0) reader.fail(FAULTS.propertyMisplaced);
    else if ((seen & bit) !== 0) reader.fail(set.twice[identifier] as Fault);
    else if (identifier === PropertyId.userProperty) {
      userProperties += 1;
      if (userProperties > limits.userProperties) reader.fail(FAULTS.userProperties);
      else readUserProperty(reader, set, found);
    } else {
      seen |= bit;
      readProperty(identifier, reader, set, limits, found);
    }
  }
  reader.leaveProperties(packetEnd);
  return found;
}

function readProperty(
  identifier: number,
  reader: FieldReader,
  set: PropertySet,
  limits: PacketLimits,
  found: Properties,
): void {
  switch (identifier) {
    case PropertyId.payloadFormatIndicator: {
      const value = reader.byte();
      if (value > 1) reader.fail(set === PUBLISH_PROPERTIES ? FAULTS.payloadFormat : FAULTS.willPayloadFormat);
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
      if (set === PUBLISH_PROPERTIES) reader.fail(FAULTS.publishSubscriptionIdentifier);
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

/** Only those of messages are forwarded. CONNECT may state the version of the client's SDK; all others are only checked. */
function readUserProperty(reader: FieldReader, set: PropertySet, found: Properties): void {
  if (set === CONNECT_PROPERTIES) {
    const [name, value] = [reader.text(), reader.text()];
    if (name === SDK_VERSION_PROPERTY) found.sdkVersion ??= parseSdkVersion(value);
    return;
  }
  if (!set.isMessage) {
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
