/** Telemetry of a device itself, the only messages that are stored in the journal: which topics are, and what is stored of a message. */

import { type Identity, type MessageProperties, parseDeviceTopic, telemetryTopic } from '@rollcall/protocol';
import type { TelemetryMessage } from '../../telemetry/index.ts';

export interface OwnTelemetry {
  /** The topic without the message key. */
  readonly topic: string;
  readonly stream: string;
  readonly key: string | undefined;
}

/** Parses a telemetry topic of this identity; undefined for every other topic. */
export function ownTelemetry(identity: Identity, topic: string): OwnTelemetry | undefined {
  const parsed = identity.kind === 'device' ? parseDeviceTopic(topic) : undefined;
  if (parsed?.kind !== 'telemetry' || identity.kind !== 'device' || parsed.device !== identity.id) return undefined;
  const { device, stream, key } = parsed;
  return { topic: key === undefined ? topic : telemetryTopic(device, stream), stream, key };
}

/** The message key and the properties that the journal stores: only those that the message has. */
export function storedProperties(
  key: string | undefined,
  properties: MessageProperties | undefined,
): Pick<TelemetryMessage, 'key' | 'contentType' | 'payloadFormatIndicator' | 'userProperties'> {
  const { contentType, payloadFormatIndicator, userProperties } = properties ?? {};
  return {
    ...(key !== undefined && { key }),
    ...(contentType !== undefined && { contentType }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(userProperties !== undefined && { userProperties }),
  };
}
