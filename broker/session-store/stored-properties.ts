/** Message properties as text for the session file, and their weight in memory. User properties remain in order [MQTT-3.3.2-18]. */

import type { MessageProperties } from '@rollcall/protocol';

/** Bytes that a user property counts for, besides name and value. */
const USER_PROPERTY_OVERHEAD = 50;

/** Null for none. Correlation data is binary, so it is written in base64. */
export function encodeProperties(properties: MessageProperties | undefined): string | null {
  if (properties === undefined) return null;
  const { correlationData } = properties;
  if (correlationData === undefined) return JSON.stringify(properties);
  return JSON.stringify({ ...properties, correlationData: Buffer.from(correlationData).toString('base64') });
}

/** Reads what {@link encodeProperties} wrote. */
export function decodeProperties(text: string | null): MessageProperties | undefined {
  if (text === null) return undefined;
  const { correlationData, ...others } = JSON.parse(text) as MessageProperties & { readonly correlationData?: string };
  if (correlationData === undefined) return others;
  return { ...others, correlationData: Buffer.from(correlationData as string, 'base64') };
}

/** Properties without references to the received chunk. */
export function ownProperties(properties: MessageProperties | undefined): MessageProperties | undefined {
  const data = properties?.correlationData;
  if (data === undefined || data.byteLength === data.buffer.byteLength) return properties;
  const own = Buffer.allocUnsafeSlow(data.byteLength);
  own.set(data);
  return { ...properties, correlationData: own };
}

export function propertyBytes(properties: MessageProperties | undefined): number {
  if (properties === undefined) return 0;
  const { contentType = '', responseTopic = '', correlationData, userProperties = [] } = properties;
  let bytes = contentType.length + responseTopic.length + (correlationData?.byteLength ?? 0);
  for (const [name, value] of userProperties) bytes += name.length + value.length + USER_PROPERTY_OVERHEAD;
  return bytes;
}
