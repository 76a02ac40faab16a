/** Packets of MQTT 3.1.1 and 5 as bytes that are made once and sent many times. Those of version 5 have no properties. */

export type MqttVersion = 4 | 5;

export const DISCONNECT = Buffer.from([0xe0, 0]);

const PAYLOAD_BYTES = 200;
const KEEP_ALIVE_SECONDS = 600;
const CLEAN_SESSION = 0x02;
const PUBACK_BYTES = 4;

export function connectPacket(clientId: string, version: MqttVersion = 4): Buffer {
  const head = Buffer.from([
    0,
    4,
    ...Buffer.from('MQTT'),
    version,
    CLEAN_SESSION,
    KEEP_ALIVE_SECONDS >> 8,
    KEEP_ALIVE_SECONDS & 0xff,
  ]);
  return packet(0x10, head, properties(version), text(clientId));
}

/** QoS 1, 200 bytes of payload. Identifiers below 256 are enough: they are free again once acknowledged (section 2.3.1). */
export function publishPacket(topic: string, packetId: number, version: MqttVersion = 4): Buffer {
  return packet(0x32, text(topic), Buffer.from([0, packetId]), properties(version), Buffer.alloc(PAYLOAD_BYTES, 'x'));
}

export function isConnackAccepted(bytes: Buffer): boolean {
  return bytes[0] === 0x20 && bytes.length === 2 + (bytes[1] ?? 0) && bytes[3] === 0;
}

/** How many PUBACKs these bytes are; 0 when they are anything else. */
export function pubacksIn(bytes: Buffer): number {
  for (let at = 0; at < bytes.length; at += PUBACK_BYTES) {
    if (bytes[at] !== 0x40 || bytes[at + 1] !== 2) return 0;
  }
  return bytes.length % PUBACK_BYTES === 0 ? bytes.length / PUBACK_BYTES : 0;
}

/** The length of no properties. */
function properties(version: MqttVersion): Buffer {
  return Buffer.alloc(version === 5 ? 1 : 0);
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
