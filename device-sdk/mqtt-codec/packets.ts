/**
 * The packets of MQTT 3.1.1 and 5 between a device and a server, without QoS 2 and AUTH: a device publishes and subscribes with QoS 0
 * and 1, so no broker may send it QoS 2 [MQTT-3.8.4-6]. Both versions have the same fields; what 3.1.1 lacks is absent, or 0.
 */

import type { UserProperty } from '@rollcall/protocol';

/** Protocol level in CONNECT: 3.1.1 or 5. */
export type MqttVersion = 4 | 5;

export type PacketKind =
  | 'connect'
  | 'connack'
  | 'publish'
  | 'puback'
  | 'subscribe'
  | 'suback'
  | 'unsubscribe'
  | 'unsuback'
  | 'pingreq'
  | 'pingresp'
  | 'disconnect';

/** The properties of MQTT 5 (section 2.2.2.2). Which packet may carry which is in properties.ts. Times are seconds. */
export interface PacketProperties {
  readonly payloadFormatIndicator?: 0 | 1;
  readonly messageExpiryInterval?: number;
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: Uint8Array;
  /** Several in PUBLISH, one in SUBSCRIBE. */
  readonly subscriptionIdentifiers?: readonly number[];
  readonly sessionExpiryInterval?: number;
  readonly assignedClientIdentifier?: string;
  readonly serverKeepAlive?: number;
  readonly authenticationMethod?: string;
  readonly authenticationData?: Uint8Array;
  readonly requestProblemInformation?: 0 | 1;
  readonly willDelayInterval?: number;
  readonly requestResponseInformation?: 0 | 1;
  readonly responseInformation?: string;
  readonly serverReference?: string;
  readonly reasonString?: string;
  readonly receiveMaximum?: number;
  readonly topicAliasMaximum?: number;
  readonly topicAlias?: number;
  readonly maximumQos?: 0 | 1;
  readonly retainAvailable?: 0 | 1;
  /** In the order sent; a name may occur several times. */
  readonly userProperties?: readonly UserProperty[];
  readonly maximumPacketSize?: number;
  readonly wildcardSubscriptionAvailable?: 0 | 1;
  readonly subscriptionIdentifiersAvailable?: 0 | 1;
  readonly sharedSubscriptionAvailable?: 0 | 1;
}

/** Absent: the packet has none; always so with MQTT 3.1.1. */
interface WithProperties {
  readonly properties?: PacketProperties | undefined;
}

export interface Connect extends WithProperties {
  readonly version: MqttVersion;
  readonly clientId: string;
  /** Clean Session of MQTT 3.1.1, Clean Start of MQTT 5. */
  readonly cleanStart: boolean;
  /** Seconds, 0 to 65,535. */
  readonly keepAlive: number;
  /** Written, and not read: the agent's listener has no use for it. */
  readonly will?: Will | undefined;
}

export interface Will extends WithProperties {
  readonly topic: string;
  /** Text is sent as UTF-8. */
  readonly payload: string | Uint8Array;
  readonly qos: 0 | 1;
  readonly retain?: boolean;
}

export interface Connack extends WithProperties {
  readonly sessionPresent: boolean;
  /** The return code with MQTT 3.1.1. 0: accepted. */
  readonly reasonCode: number;
}

export interface Publish extends WithProperties {
  /** UTF-8 where it is bytes. Empty only with a topic alias. */
  readonly topic: string | Buffer;
  /** Text is sent as UTF-8. */
  readonly payload: string | Uint8Array;
  readonly qos: 0 | 1;
  readonly dup?: boolean;
  readonly retain?: boolean;
  /** Ignored with QoS 0. */
  readonly packetId: number;
}

export interface Subscription {
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  /** 0: send retained messages; 1: only for a new subscription; 2: do not. */
  readonly retainHandling?: 0 | 1 | 2;
}

/** Also of packets that have no reason code with MQTT 3.1.1: 0. */
interface WithReason extends WithProperties {
  readonly reasonCode: number;
}

export type ReceivedPacket =
  | (Connect & { readonly kind: 'connect'; readonly hasWill: boolean })
  | (Connack & { readonly kind: 'connack' })
  | ReceivedPublish
  | (WithReason & { readonly kind: 'puback'; readonly packetId: number })
  | (WithProperties & {
      readonly kind: 'subscribe';
      readonly packetId: number;
      readonly subscriptions: readonly Required<Subscription>[];
    })
  /** A code per filter: 0 to 2 granted, 0x80 or greater refused. */
  | (WithProperties & { readonly kind: 'suback'; readonly packetId: number; readonly reasonCodes: readonly number[] })
  | (WithProperties & { readonly kind: 'unsubscribe'; readonly packetId: number; readonly filters: readonly string[] })
  /** No codes with MQTT 3.1.1. */
  | (WithProperties & { readonly kind: 'unsuback'; readonly packetId: number; readonly reasonCodes: readonly number[] })
  | { readonly kind: 'pingreq' | 'pingresp' }
  | (WithReason & { readonly kind: 'disconnect' });

export interface ReceivedPublish extends WithProperties {
  readonly kind: 'publish';
  /** Empty only with a topic alias. */
  readonly topic: string;
  /** Part of the received chunk: who keeps it for longer than the call copies it. */
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly dup: boolean;
  readonly retain: boolean;
  /** 0 with QoS 0. */
  readonly packetId: number;
}

/** Nothing can be read after it. */
export class MalformedPacket extends RangeError {
  override readonly name = 'MalformedPacket';
  /** Of the DISCONNECT that MQTT 5 has for it. */
  readonly reasonCode: number;

  constructor(what: string, reasonCode: number = 0x81) {
    super(what);
    this.reasonCode = reasonCode;
  }
}
