/** Where the response to a command goes: to the Response Topic that the command names (MQTT 5, section 4.10), or to the device's own. */

import {
  type DeviceId,
  isDeviceTopic,
  isServerTopic,
  isTopicName,
  parseDeviceTopic,
  responseTopic,
} from '@rollcall/protocol';
import type { PacketProperties } from './mqtt-codec/index.ts';

/** What a command says about its response. */
export interface RequestedReply {
  readonly responseTopic: string | undefined;
  readonly correlationData: Buffer | undefined;
}

export type ReplyProperties = Pick<PacketProperties, 'correlationData'>;

const TOPIC_LIMITS = { maxBytes: 512, maxLevels: 16 };

/**
 * A sender of commands cannot make the device write its telemetry, events or twin, or topics of another device: of topics below `devices/` only
 * the device's own `responses/` are taken. Whether it may publish there is the broker's decision.
 */
export function replyTo(
  requested: RequestedReply | undefined,
  device: DeviceId,
  requestId: string,
): { readonly topic: string; readonly properties: ReplyProperties | undefined } {
  const { responseTopic: asked, correlationData } = requested ?? {};
  const topic = asked !== undefined && isReplyTopic(asked, device) ? asked : responseTopic(device, requestId);
  return { topic, properties: correlationData === undefined ? undefined : { correlationData } };
}

/** Whether the device sends a response to this topic. */
export function isReplyTopic(topic: string, device: DeviceId): boolean {
  if (!isTopicName(topic, TOPIC_LIMITS) || isServerTopic(topic)) return false;
  if (!isDeviceTopic(topic)) return true;
  const parsed = parseDeviceTopic(topic);
  return parsed?.kind === 'response' && parsed.device === device;
}
