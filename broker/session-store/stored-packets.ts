/** The packets that aedes hands over and wants back, in the shapes that aedes-packet gives them; copied, never kept. */

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
  /** A clean session keeps nothing beyond its connection, so nothing of it is written to disk. */
  readonly clean?: boolean;
}

const NOTHING = Buffer.alloc(0);

/** Bytes of their own: a slice would keep, and send to the thread, the whole chunk that it was read with. */
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

/** What a stored thing weighs besides its payload and topic. */
const OVERHEAD = 200;

export function weightOf({ topic, payload }: { readonly topic: string; readonly payload: Buffer | string }): number {
  return topic.length + payload.length + OVERHEAD;
}
