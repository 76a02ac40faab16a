/** Which topics are telemetry of a device itself: only such messages are stored in the journal. */

import { type Identity, parseDeviceTopic, telemetryTopic } from '@rollcall/protocol';

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
