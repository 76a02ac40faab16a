/**
 * QoS 2 messages between their first PUBLISH and their PUBREL, by packet identifier, so that each is stored once [MQTT-4.3.3-2],
 * also across a restart. The state of sessions and the journal cannot commit together. So the state first records a key of the
 * message; the journal stores a key once; and a client that sends the message again after a crash completes what is missing.
 * Stores no payload. Those of a session that ends with its connection are in memory: its packet identifiers end with it.
 */

import { randomUUID } from 'node:crypto';
import { SERVER_KEY_PREFIX } from '../../storage/index.ts';
import type { SessionRecord } from '../keeper/sessions.ts';

/** The part of a session that this needs. */
interface Receiver {
  readonly record: Pick<SessionRecord, 'incoming' | 'durable'>;
}

/** Whether a client may have one more unreleased message: beyond `most` only packet identifiers that are in use already. */
export function hasRoomForQos2({ record: { incoming } }: Receiver, packetId: number, most: number): boolean {
  return incoming.size < most || incoming.get(packetId) !== undefined;
}

/** Whether a packet identifier belongs to a message that is not released. */
export function isQos2InUse({ record }: Receiver, packetId: number): boolean {
  return record.incoming.get(packetId) !== undefined;
}

/** Whether this message was received and stored completely. It is on disk when `record.durable()` resolves. */
export function isQos2Received({ record }: Receiver, packetId: number): boolean {
  const mark = record.incoming.get(packetId);
  return mark !== undefined && mark.key === undefined;
}

/** Reserves the journal key of a message that was not received before. Resolves when the key is on disk. */
export async function reserveQos2Key({ record }: Receiver, packetId: number): Promise<string> {
  let key = record.incoming.get(packetId)?.key;
  if (key === undefined) {
    key = SERVER_KEY_PREFIX + randomUUID();
    record.incoming.put(packetId, key);
  }
  await record.durable();
  return key;
}
