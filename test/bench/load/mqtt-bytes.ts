/** MQTT 3.1.1 packets as bytes that are made once and sent many times. */

export const DISCONNECT = Buffer.from([0xe0, 0]);

/** One in flight on each connection, so one identifier is enough (MQTT 3.1.1, section 2.3.1). */
const PACKET_ID = 1;
const PAYLOAD_BYTES = 200;
const KEEP_ALIVE_SECONDS = 600;
const CLEAN_SESSION = 0x02;

export function connectPacket(clientId: string): Buffer {
  const head = Buffer.from([
    0,
    4,
    ...Buffer.from('MQTT'),
    4,
    CLEAN_SESSION,
    KEEP_ALIVE_SECONDS >> 8,
    KEEP_ALIVE_SECONDS & 0xff,
  ]);
  return packet(0x10, head, text(clientId));
}

/** QoS 1, 200 bytes of payload. */
export function publishPacket(topic: string): Buffer {
  return packet(0x32, text(topic), Buffer.from([0, PACKET_ID]), Buffer.alloc(PAYLOAD_BYTES, 'x'));
}

export function isConnackAccepted(bytes: Buffer): boolean {
  return bytes.length === 4 && bytes[0] === 0x20 && bytes[1] === 2 && bytes[3] === 0;
}

export function isPuback(bytes: Buffer): boolean {
  return bytes.length === 4 && bytes[0] === 0x40 && bytes[3] === PACKET_ID;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function packet(first: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [(body.length & 0x7f) | 0x80, body.length >> 7];
  return Buffer.concat([Buffer.from([first, ...length]), body]);
}
