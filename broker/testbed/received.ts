/** What a client received, of all its packets, in the order in which it came. */

import type { Packet } from 'mqtt-packet';

export function payloads(packets: readonly Packet[]): string[] {
  return packets.flatMap((packet) => (packet.cmd === 'publish' ? [String(packet.payload)] : []));
}

/** `TOPIC PAYLOAD` */
export function messages(packets: readonly Packet[]): string[] {
  return packets.flatMap((packet) => (packet.cmd === 'publish' ? [`${packet.topic} ${packet.payload}`] : []));
}

/** The packet identifiers that were acknowledged. */
export function pubacks(packets: readonly Packet[]): (number | undefined)[] {
  return packets.flatMap((packet) => (packet.cmd === 'puback' ? [packet.messageId] : []));
}
