/**
 * The packets that a client may send, as the decoder passes them on: whole, valid for the client's protocol version, and within the
 * limits. The two versions have the same fields; what MQTT 3.1.1 lacks has the value that means "absent".
 */

import type { MessageProperties, UserProperty } from '@rollcall/protocol';

/** Protocol level in CONNECT: MQTT 3.1.1 or MQTT 5. */
export type ProtocolVersion = 4 | 5;

export type Qos = 0 | 1 | 2;

export const PacketType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  auth: 15,
} as const;

export interface ConnectPacket {
  readonly version: ProtocolVersion;
  /** Empty only with MQTT 5: the server then assigns one [MQTT-3.1.3-6]. */
  readonly clientId: string;
  /** Clean Session of MQTT 3.1.1, Clean Start of MQTT 5. */
  readonly cleanStart: boolean;
  /** Seconds; 0: none. */
  readonly keepAlive: number;
  readonly will: WillMessage | undefined;
  /** Seconds; 0: the session ends with the connection; 0xffffffff: never. With MQTT 3.1.1: 0 for a clean session, else 0xffffffff. */
  readonly sessionExpiryInterval: number;
  /** QoS 1 and 2 messages that the client accepts at a time, 1 to 65,535; 65,535 if absent. */
  readonly receiveMaximum: number;
  /** Bytes of the largest packet that the client accepts; infinite if absent. */
  readonly maximumPacketSize: number;
  /** Topic aliases that the client accepts, 0 to 65,535; 0 if absent. */
  readonly topicAliasMaximum: number;
  /** False: no Reason String or User Property may be sent except in PUBLISH, CONNACK and DISCONNECT. True if absent. */
  readonly wantsProblemInformation: boolean;
  /** True: CONNACK may carry Response Information. False if absent. */
  readonly wantsResponseInformation: boolean;
  /** Authentication Method; the broker refuses any. */
  readonly authenticationMethod: string | undefined;
  /** `name/version` of the client's SDK, as it states it. */
  readonly sdkVersion: string | undefined;
}

export interface WillMessage {
  readonly topic: string;
  /** A copy: it does not refer to the received chunk. */
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly properties: MessageProperties | undefined;
  /** Seconds; undefined: the message does not expire. */
  readonly messageExpiryInterval: number | undefined;
  /** Seconds; 0 if absent. */
  readonly delayInterval: number;
}

/**
 * One PUBLISH. The decoder reuses the object: its fields are valid only during the call that passes it on, except `bytes`, which then
 * belongs to the receiver.
 */
export interface PublishPacket {
  bytes: Buffer;
  /** The packet: fixed header included, `end` exclusive. */
  start: number;
  end: number;
  qos: Qos;
  dup: boolean;
  retain: boolean;
  /** The topic name as a range of bytes; empty only with a topic alias. */
  topicStart: number;
  topicEnd: number;
  /** 1 to 65,535; 0 with QoS 0. */
  packetId: number;
  /** First byte of the payload, which ends with the packet. */
  payload: number;
  /** Undefined when the packet has none; always so with MQTT 3.1.1. */
  properties: PublishProperties | undefined;
}

export interface PublishProperties {
  /** What receivers get; undefined when there is nothing for them. */
  readonly message: MessageProperties | undefined;
  /** Seconds. */
  readonly messageExpiryInterval: number | undefined;
  /** 1 to 65,535. */
  readonly topicAlias: number | undefined;
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export interface AcknowledgementPacket {
  readonly type: 4 | 5 | 6 | 7;
  readonly packetId: number;
  /** 0 with MQTT 3.1.1. 0x80 or greater: an error. */
  readonly reasonCode: number;
}

export interface SubscribePacket {
  readonly packetId: number;
  readonly subscriptions: readonly RequestedSubscription[];
  /** 1 to 268,435,455; undefined if absent. */
  readonly subscriptionIdentifier: number | undefined;
}

export interface RequestedSubscription {
  /** As sent: also with `$share/GROUP/` in front, which the decoder has checked. */
  readonly filter: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** 0: send retained messages; 1: only for a new subscription; 2: do not. */
  readonly retainHandling: 0 | 1 | 2;
}

export interface UnsubscribePacket {
  readonly packetId: number;
  readonly filters: readonly string[];
}

export interface DisconnectPacket {
  /** 0 with MQTT 3.1.1. */
  readonly reasonCode: number;
  /** Seconds; undefined: as in CONNECT. */
  readonly sessionExpiryInterval: number | undefined;
}

/** Receives the packets of one client, in order. Called synchronously. */
export interface PacketHandlers {
  /** Called before each packet, with its first byte. False: the rest of the chunk is buffered until `resume()`. */
  mayReceive(first: number): boolean;
  /** `bytes`: the length of the packet, header included; also in the calls below. The first packet, once. */
  connect(packet: ConnectPacket, bytes: number): void;
  publish(packet: PublishPacket, bytes: number): void;
  acknowledgement(packet: AcknowledgementPacket, bytes: number): void;
  subscribe(packet: SubscribePacket, bytes: number): void;
  unsubscribe(packet: UnsubscribePacket, bytes: number): void;
  pingreq(bytes: number): void;
  /** The last packet: nothing follows it. */
  disconnect(packet: DisconnectPacket, bytes: number): void;
}

/** What the server sends besides acknowledgements of one packet identifier. */
export interface ConnackProperties {
  readonly sessionExpiryInterval?: number;
  readonly receiveMaximum?: number;
  readonly maximumPacketSize?: number;
  readonly assignedClientIdentifier?: string;
  readonly topicAliasMaximum?: number;
  readonly reasonString?: string;
  readonly userProperties?: readonly UserProperty[];
  readonly serverKeepAlive?: number;
  readonly serverReference?: string;
}
