import { jsonText } from '@rollcall/output';
import { positionNumber, type StoredMessage } from '../telemetry/index.ts';
import type { Answer } from './api/endpoint.ts';
import type { telemetryEndpoints } from './api/telemetry.ts';
import { isoTime } from './iso-time.ts';
import { viewPayload } from './untrusted-json.ts';

export type MessageView = Answer<typeof telemetryEndpoints.followTelemetry>;

export function viewMessage(message: StoredMessage): MessageView {
  const { payloadFormatIndicator, userProperties } = message;
  return {
    position: positionNumber(message.position),
    device: message.device,
    stream: message.stream,
    receivedAt: isoTime(message.receivedAt),
    qos: message.qos,
    ...(message.deviceTime !== undefined && { deviceTime: isoTime(message.deviceTime) }),
    ...(message.deviceSequence !== undefined && { deviceSequence: message.deviceSequence }),
    ...(message.key !== undefined && { key: message.key }),
    ...(message.contentType !== undefined && { contentType: message.contentType }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(userProperties !== undefined &&
      userProperties.length > 0 && { userProperties: userProperties.map(([name, value]) => ({ name, value })) }),
    ...viewPayload(message.payload),
  };
}

/** One line of newline-delimited JSON. */
export function messageJson(message: StoredMessage): string {
  return `${jsonText(viewMessage(message))}\n`;
}
