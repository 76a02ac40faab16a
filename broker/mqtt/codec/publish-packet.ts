/**
 * Reads PUBLISH (section 3.3) into an object that is reused. The hot path of the decoder: without properties it allocates nothing, and
 * MQTT 5 costs one byte more than MQTT 3.1.1.
 */

import type { ProtocolVersion, PublishPacket, Qos } from '../packets.ts';
import { faultOfText, length16, reader } from './field-reader.ts';
import { topicNameFault } from './mqtt-text.ts';
import type { PacketLimits } from './packet-limits.ts';
import { messageProperties, readProperties } from './properties.ts';
import { PUBLISH_PROPERTIES } from './property-table.ts';
import { FAULTS, type Fault } from './protocol-violations.ts';

/** `start`: the first byte after the fixed header. Flags are checked before. */
export function readPublish(
  bytes: Buffer,
  first: number,
  start: number,
  end: number,
  version: ProtocolVersion,
  limits: PacketLimits,
  publish: PublishPacket,
): Fault | undefined {
  const topicStart = start + 2;
  if (topicStart > end) return FAULTS.truncated;
  const topicEnd = topicStart + length16(bytes, start);
  if (topicEnd > end) return FAULTS.truncated;
  if (topicEnd > topicStart) {
    const fault = topicNameFault(bytes, topicStart, topicEnd, limits);
    if (fault !== undefined) return faultOfText(fault);
  } else if (version === 4) return FAULTS.topicEmpty;
  const qos = (first >> 1) & 0x03;
  let payload = topicEnd;
  let packetId = 0;
  if (qos > 0) {
    payload += 2;
    if (payload > end) return FAULTS.truncated;
    packetId = length16(bytes, topicEnd);
    if (packetId === 0) return FAULTS.packetId;
  }
  publish.bytes = bytes;
  publish.end = end;
  publish.qos = qos as Qos;
  publish.dup = (first & 0x08) !== 0;
  publish.retain = (first & 0x01) !== 0;
  publish.topicStart = topicStart;
  publish.topicEnd = topicEnd;
  publish.packetId = packetId;
  publish.properties = undefined;
  publish.payload = payload;
  if (version === 4) return undefined;
  if (payload < end && bytes[payload] === 0) {
    publish.payload = payload + 1;
    return topicEnd === topicStart ? FAULTS.topicMissing : undefined;
  }
  return readPublishProperties(limits, publish);
}

function readPublishProperties(limits: PacketLimits, publish: PublishPacket): Fault | undefined {
  reader.open(publish.bytes, publish.payload, publish.end);
  const found = readProperties(reader, PUBLISH_PROPERTIES, limits);
  publish.payload = reader.position;
  const fault = reader.close();
  if (fault !== undefined) return fault;
  const { messageExpiryInterval, topicAlias } = found;
  if (publish.topicStart === publish.topicEnd && topicAlias === undefined) return FAULTS.topicMissing;
  publish.properties = { message: messageProperties(found), messageExpiryInterval, topicAlias };
  return undefined;
}
