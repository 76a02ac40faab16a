/** The properties of MQTT 5 (section 2.2.2.2): their identifiers, and which packets from a client may have them. */

import { ReasonCode } from '@rollcall/protocol';
import { PacketType } from '../packets.ts';
import { Fault } from './protocol-violations.ts';

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

type PropertyName = keyof typeof PropertyId;

/** One bit for each identifier; 0 for a number that is none. */
export const PROPERTY_BIT: readonly number[] = bitsOfIdentifiers();

export class PropertySet {
  /** The bits of the properties that the packet may have. */
  readonly allowed: number;
  /** User properties belong to an application message, which receivers get. */
  readonly isMessage: boolean;
  /** By identifier: the property came a second time, which its section forbids. User Property may come several times. */
  readonly twice: readonly Fault[];

  constructor(isMessage: boolean, sections: Partial<Record<PropertyName, string>>) {
    this.isMessage = isMessage;
    const twice: Fault[] = [];
    let allowed = 0;
    for (const [name, section] of Object.entries(sections)) {
      const identifier = PropertyId[name as PropertyName];
      allowed |= PROPERTY_BIT[identifier] as number;
      const clause = `MQTT 5, ${section}`;
      const description = `expected ${words(name)} once`;
      twice[identifier] = new Fault({ 4: clause, 5: clause }, ReasonCode.protocolError, description);
    }
    this.allowed = allowed;
    this.twice = twice;
  }
}

/** Sections of MQTT 5, by property. */
export const CONNECT_PROPERTIES = new PropertySet(false, {
  sessionExpiryInterval: '3.1.2.11.2',
  receiveMaximum: '3.1.2.11.3',
  maximumPacketSize: '3.1.2.11.4',
  topicAliasMaximum: '3.1.2.11.5',
  requestResponseInformation: '3.1.2.11.6',
  requestProblemInformation: '3.1.2.11.7',
  userProperty: '3.1.2.11.8',
  authenticationMethod: '3.1.2.11.9',
  authenticationData: '3.1.2.11.10',
});

export const WILL_PROPERTIES = new PropertySet(true, {
  willDelayInterval: '3.1.3.2.2',
  payloadFormatIndicator: '3.1.3.2.3',
  messageExpiryInterval: '3.1.3.2.4',
  contentType: '3.1.3.2.5',
  responseTopic: '3.1.3.2.6',
  correlationData: '3.1.3.2.7',
  userProperty: '3.1.3.2.8',
});

/** With Subscription Identifier, which a client may not send, but which has a clause of its own. */
export const PUBLISH_PROPERTIES = new PropertySet(true, {
  payloadFormatIndicator: '3.3.2.3.2',
  messageExpiryInterval: '3.3.2.3.3',
  topicAlias: '3.3.2.3.4',
  responseTopic: '3.3.2.3.5',
  correlationData: '3.3.2.3.6',
  userProperty: '3.3.2.3.7',
  subscriptionIdentifier: '3.3.2.3.8',
  contentType: '3.3.2.3.9',
});

export const ACKNOWLEDGEMENT_PROPERTIES = {
  [PacketType.puback]: new PropertySet(false, { reasonString: '3.4.2.2.2', userProperty: '3.4.2.2.3' }),
  [PacketType.pubrec]: new PropertySet(false, { reasonString: '3.5.2.2.2', userProperty: '3.5.2.2.3' }),
  [PacketType.pubrel]: new PropertySet(false, { reasonString: '3.6.2.2.2', userProperty: '3.6.2.2.3' }),
  [PacketType.pubcomp]: new PropertySet(false, { reasonString: '3.7.2.2.2', userProperty: '3.7.2.2.3' }),
} as const;

export const SUBSCRIBE_PROPERTIES = new PropertySet(false, {
  subscriptionIdentifier: '3.8.2.1.2',
  userProperty: '3.8.2.1.3',
});

export const UNSUBSCRIBE_PROPERTIES = new PropertySet(false, { userProperty: '3.10.2.1.2' });

export const DISCONNECT_PROPERTIES = new PropertySet(false, {
  sessionExpiryInterval: '3.14.2.2.2',
  reasonString: '3.14.2.2.3',
  userProperty: '3.14.2.2.4',
  serverReference: '3.14.2.2.5',
});

function bitsOfIdentifiers(): readonly number[] {
  const bits: number[] = [];
  for (const [index, identifier] of Object.values(PropertyId).entries()) bits[identifier] = 1 << index;
  return Array.from(bits, (bit) => bit ?? 0);
}

/** `topicAlias`: Topic Alias. */
function words(name: string): string {
  return name.replace(/^./, (letter) => letter.toUpperCase()).replace(/(?<=[a-z])(?=[A-Z])/g, ' ');
}
