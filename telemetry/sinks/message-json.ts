import { escapeJson } from '@rollcall/output';
import { type DeviceId, telemetryTopic } from '@rollcall/protocol';
import type { SinkMessage } from './target.ts';

export const CLOUDEVENTS_BATCH = 'application/cloudevents-batch+json';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

type Payload = { readonly json: string } | { readonly text: string } | { readonly base64: string };

/** One message as one line, without its end. The members are those of `rollcall telemetry export`. */
export function toJsonLine(message: SinkMessage): string {
  const { position, device, stream, receivedAt, qos, deviceTime, deviceSequence, key, contentType } = message;
  const head = JSON.stringify({
    position,
    device,
    stream,
    receivedAt: new Date(receivedAt).toISOString(),
    qos,
    ...(deviceTime !== undefined && { deviceTime: new Date(deviceTime).toISOString() }),
    deviceSequence,
    key,
    contentType,
  });
  const payload = readPayload(message.payload);
  const rest = 'json' in payload ? `"payload":${payload.json}}` : JSON.stringify(payload).slice(1);
  return escapeJson(`${head.slice(0, -1)},${rest}`);
}

/** A message of the telemetry journal, whose names are device ids, in the JSON event format of CloudEvents 1.0 (section 3). */
export function toCloudEvent(message: SinkMessage, trustDomain: string): string {
  const { position, device, stream, receivedAt, qos, deviceTime, deviceSequence, contentType } = message;
  const payload = readPayload(message.payload);
  const head = JSON.stringify({
    specversion: '1.0',
    id: `${receivedAt}-${position}`,
    type: 'fleet.telemetry',
    source: `//${trustDomain}/telemetry`,
    subject: telemetryTopic(device as DeviceId, stream),
    time: new Date(receivedAt).toISOString(),
    datacontenttype: contentType ?? mediaTypeOf(payload),
    position: String(position), // an Integer of CloudEvents has 32 bits
    qos,
    ...(deviceTime !== undefined && { devicetime: new Date(deviceTime).toISOString() }),
    ...(deviceSequence !== undefined && { devicesequence: String(deviceSequence) }),
  });
  const open = head.slice(0, -1);
  if ('json' in payload && (contentType === undefined || /[/+]json\b/.test(contentType))) {
    return escapeJson(`${open},"data":${payload.json}}`);
  }
  if ('text' in payload) return escapeJson(`${open},"data":${JSON.stringify(payload.text)}}`);
  return escapeJson(`${open},"data_base64":"${Buffer.from(message.payload).toString('base64')}"}`);
}

function mediaTypeOf(payload: Payload): string {
  if ('json' in payload) return 'application/json';
  return 'text' in payload ? 'text/plain; charset=utf-8' : 'application/octet-stream';
}

function readPayload(bytes: Uint8Array): Payload {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return { base64: Buffer.from(bytes).toString('base64') };
  }
  try {
    JSON.parse(text);
    // As it came, digits and all. Line feeds and tabs can only stand between its parts.
    return { json: text.replace(/[\t\r\n]/g, ' ') };
  } catch {
    return { text };
  }
}
