import { escapeJson } from '@rollcall/output';
import { type DeviceId, isMediaType, telemetryTopic, type UserProperty } from '@rollcall/protocol';
import { positionNumber } from '../position.ts';
import type { SinkMessage } from './target.ts';

export const CLOUDEVENTS_BATCH = 'application/cloudevents-batch+json';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

type Payload = { readonly json: string } | { readonly text: string } | { readonly base64: string };

/** User properties as every JSON of Rollcall has them; undefined for none. */
export function userPropertiesJson({
  userProperties = [],
}: Pick<SinkMessage, 'userProperties'>): readonly { readonly name: string; readonly value: string }[] | undefined {
  if (userProperties.length === 0) return undefined;
  return userProperties.map(([name, value]: UserProperty) => ({ name, value }));
}

/** One message as one line, without its end. The members are those of `rollcall telemetry export`. */
export function toJsonLine(message: SinkMessage): string {
  const { position, device, stream, receivedAt, qos, deviceTime, deviceSequence, key } = message;
  const head = JSON.stringify({
    position: positionNumber(position),
    device,
    stream,
    receivedAt: new Date(receivedAt).toISOString(),
    qos,
    ...(deviceTime !== undefined && { deviceTime: new Date(deviceTime).toISOString() }),
    deviceSequence,
    key,
    contentType: message.contentType,
    payloadFormatIndicator: message.payloadFormatIndicator,
    userProperties: userPropertiesJson(message),
  });
  const payload = readPayload(message.payload);
  const rest = 'json' in payload ? `"payload":${payload.json}}` : JSON.stringify(payload).slice(1);
  return escapeJson(`${head.slice(0, -1)},${rest}`);
}

/**
 * A message of the telemetry journal, whose names are device ids, in the JSON event format of CloudEvents 1.0 (section 3). Attributes of an
 * event are single values: user properties are a JSON text. `datacontenttype` has to be a media type; a content type that is none is
 * a JSON text in an attribute of its own.
 */
export function toCloudEvent(message: SinkMessage, trustDomain: string): string {
  const { position, device, stream, receivedAt, qos, deviceTime, deviceSequence, contentType, payloadFormatIndicator } =
    message;
  const payload = readPayload(message.payload);
  const mediaType = contentType !== undefined && isMediaType(contentType) ? contentType : undefined;
  const userProperties = userPropertiesJson(message);
  const head = JSON.stringify({
    specversion: '1.0',
    id: `${receivedAt}-${position}`,
    type: 'fleet.telemetry',
    source: `//${trustDomain}/telemetry`,
    subject: telemetryTopic(device as DeviceId, stream),
    time: new Date(receivedAt).toISOString(),
    datacontenttype: mediaType ?? mediaTypeOf(payload),
    position: String(position), // an Integer of CloudEvents has 32 bits
    qos,
    ...(deviceTime !== undefined && { devicetime: new Date(deviceTime).toISOString() }),
    ...(deviceSequence !== undefined && { devicesequence: String(deviceSequence) }),
    ...(mediaType === undefined && contentType !== undefined && { contenttype: asciiJson(contentType) }),
    payloadformat: payloadFormatIndicator,
    ...(userProperties !== undefined && { userproperties: asciiJson(userProperties) }),
  });
  const open = head.slice(0, -1);
  const isJson = mediaType === undefined ? 'json' in payload : JSON_TYPE.test(mediaType);
  if ('json' in payload && isJson) return escapeJson(`${open},"data":${payload.json}}`);
  // A text whose type is JSON is not valid JSON: as `data` it would be read as a JSON string.
  if ('text' in payload && !isJson) return escapeJson(`${open},"data":${JSON.stringify(payload.text)}}`);
  return escapeJson(`${open},"data_base64":"${Buffer.from(message.payload).toString('base64')}"}`);
}

/** Section 3.1.1: the subtype is `json`, or has the suffix `+json`. */
const JSON_TYPE = /^[^/;]+\/(?:[^;]+\+)?json(?:[ \t]*;|$)/i;

/** JSON of printable ASCII: an attribute holds no control characters and no noncharacters (CloudEvents 1.0, "Type System"). */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
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
