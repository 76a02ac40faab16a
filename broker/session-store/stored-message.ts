/** Messages in the session store: their weight, copies that do not refer to the received chunk, and their columns in the session file. */

import type { Message } from '../mqtt/message.ts';
import type { MessageColumns } from './session-rows.ts';
import { decodeProperties, ownProperties, propertyBytes } from './stored-properties.ts';

/** Bytes that a message counts for, besides topic, payload and properties. */
const OVERHEAD = 200;

const NOTHING = Buffer.alloc(0);

/** Bytes of payload and properties. */
export function messageBytes({ payload, properties }: Pick<Message, 'payload' | 'properties'>): number {
  return properties === undefined ? payload.length : payload.length + propertyBytes(properties);
}

/** What a message counts for among the retained ones: one without a payload removes what is retained [MQTT-3.3.1-6]. */
export function retainedBytes(message: Pick<Message, 'payload' | 'properties'>): number {
  return message.payload.length === 0 ? 0 : messageBytes(message);
}

/** What a message counts for in the memory pool; `bytes` as in {@link messageBytes}. */
export function messageWeight(topic: string, bytes: number): number {
  return topic.length + bytes + OVERHEAD;
}

/**
 * A copy for a message that is stored. Its payload has memory of its own: a slice would retain the whole received chunk, and the
 * writer's thread would get all of it.
 */
export function ownMessage(message: Message): Message {
  return { ...message, payload: ownPayload(message.payload), properties: ownProperties(message.properties) };
}

export function ownPayload(payload: Buffer): Buffer {
  if (payload.length === 0) return NOTHING;
  if (payload.length === payload.buffer.byteLength) return payload;
  const own = Buffer.allocUnsafeSlow(payload.length);
  payload.copy(own);
  return own;
}

/** A message of an earlier run. */
export function messageOf(row: MessageColumns, retain: boolean, number: number): Message {
  return {
    topic: row.topic,
    payload: row.payload,
    qos: row.qos,
    retain,
    properties: decodeProperties(row.properties),
    expiresAt: row.expires_at ?? undefined,
    clientId: row.publisher ?? undefined,
    number,
  };
}

export function hasExpired({ expiresAt }: Message, now: number): boolean {
  return expiresAt !== undefined && expiresAt <= now;
}
