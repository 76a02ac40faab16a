/** Encodes PUBLISH (section 3.3) to a client. A hot path: one allocation and no intermediate objects. */

import type { MessageProperties } from '@rollcall/protocol';
import { PacketType, type ProtocolVersion, type Qos } from '../packets.ts';
import { PropertyId } from './property-table.ts';
import {
  binaryPropertyBytes,
  fieldBytes,
  subscriptionIdentifiersBytes,
  textPropertyBytes,
  userPropertiesBytes,
  variableBytes,
  writeBinaryProperty,
  writeByteProperty,
  writeText,
  writeTextProperty,
  writeUint16,
  writeUint16Property,
  writeUint32Property,
  writeUserProperties,
  writeVariable,
  writeVariableProperty,
} from './property-writer.ts';

export interface OutgoingPublish {
  /** Empty with a topic alias that the client knows. */
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup: boolean;
  /** Ignored with QoS 0. */
  readonly packetId: number;
  // Ignored with MQTT 3.1.1:
  readonly properties?: MessageProperties | undefined;
  /** Seconds that are left. */
  readonly messageExpiryInterval?: number | undefined;
  /** In any order [MQTT 5: MQTT-3.3.4-4]. */
  readonly subscriptionIdentifiers?: readonly number[] | undefined;
  readonly topicAlias?: number | undefined;
}

export function encodePublish(version: ProtocolVersion, publish: OutgoingPublish): Buffer {
  const { topic, payload, qos } = publish;
  const properties = version === 5 ? propertiesBytes(publish) : -1;
  const remaining =
    2 +
    fieldBytes(Buffer.byteLength(topic)) +
    (qos > 0 ? 2 : 0) +
    (properties < 0 ? 0 : variableBytes(properties) + properties) +
    payload.length;
  const packet = Buffer.allocUnsafe(1 + variableBytes(remaining) + remaining);
  packet[0] = (PacketType.publish << 4) | (publish.dup ? 0x08 : 0) | (qos << 1) | (publish.retain ? 0x01 : 0);
  let at = writeText(packet, writeVariable(packet, 1, remaining), topic);
  if (qos > 0) at = writeUint16(packet, at, publish.packetId);
  if (properties >= 0) at = writeVariable(packet, at, properties);
  if (properties > 0) at = writeProperties(packet, at, publish);
  packet.set(payload, at);
  return packet;
}

function propertiesBytes({
  properties,
  messageExpiryInterval,
  subscriptionIdentifiers,
  topicAlias,
}: OutgoingPublish): number {
  const ofConnection =
    (messageExpiryInterval === undefined ? 0 : 5) +
    (topicAlias === undefined ? 0 : 3) +
    subscriptionIdentifiersBytes(subscriptionIdentifiers);
  if (properties === undefined) return ofConnection;
  return (
    ofConnection +
    (properties.payloadFormatIndicator === undefined ? 0 : 2) +
    textPropertyBytes(properties.contentType) +
    textPropertyBytes(properties.responseTopic) +
    binaryPropertyBytes(properties.correlationData) +
    userPropertiesBytes(properties.userProperties)
  );
}

function writeProperties(to: Buffer, from: number, publish: OutgoingPublish): number {
  const { properties, messageExpiryInterval, subscriptionIdentifiers, topicAlias } = publish;
  let at = writeUint32Property(to, from, PropertyId.messageExpiryInterval, messageExpiryInterval);
  at = writeUint16Property(to, at, PropertyId.topicAlias, topicAlias);
  if (subscriptionIdentifiers !== undefined) {
    for (const identifier of subscriptionIdentifiers) {
      at = writeVariableProperty(to, at, PropertyId.subscriptionIdentifier, identifier);
    }
  }
  if (properties === undefined) return at;
  at = writeByteProperty(to, at, PropertyId.payloadFormatIndicator, properties.payloadFormatIndicator);
  at = writeTextProperty(to, at, PropertyId.contentType, properties.contentType);
  at = writeTextProperty(to, at, PropertyId.responseTopic, properties.responseTopic);
  at = writeBinaryProperty(to, at, PropertyId.correlationData, properties.correlationData);
  return writeUserProperties(to, at, PropertyId.userProperty, properties.userProperties);
}
