/** Packets as aedes passes and expects them, in the shape of aedes-packet. They are copied before they are stored. */

export interface StoredPacket {
  readonly cmd?: string;
  readonly topic: string;
  readonly payload: Buffer | string;
  qos?: number;
  readonly retain?: boolean;
  readonly clientId?: string;
  brokerId?: string | undefined;
  brokerCounter?: number | undefined;
  messageId?: number | undefined;
}

export interface ClientKey {
  readonly id: string;
  /** Nothing of a clean session is written to disk. */
  readonly clean?: boolean;
}

const NOTHING = Buffer.alloc(0);

/** Copies a payload: a slice would retain the whole received chunk, and send it to the writer's thread. */
export function ownPayload(payload: Buffer | string | undefined): Buffer | string {
  if (typeof payload === 'string') return payload;
  if (payload === undefined || payload.length === 0) return NOTHING;
  const own = Buffer.allocUnsafeSlow(payload.length);
  payload.copy(own);
  return own;
}

export function payloadBytes(payload: Buffer | string): Buffer {
  return typeof payload === 'string' ? Buffer.from(payload) : payload;
}

/** Bytes that a stored packet counts for, besides payload and topic. */
const OVERHEAD = 200;

export function weightOf({ topic, payload }: { readonly topic: string; readonly payload: Buffer | string }): number {
  return topic.length + payload.length + OVERHEAD;
}
