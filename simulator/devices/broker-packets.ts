import { type MqttVersion, PacketReader } from '@rollcall/device-sdk/mqtt-codec';

/** Above what any broker of ours sends; a packet up to this size is buffered. */
const PACKET_BYTES_MAX = 16 * 1024 * 1024;

/** A reader of what a broker sends to a client of this version. */
export function brokerPackets(version: MqttVersion): PacketReader {
  return new PacketReader({ version, maxBytes: PACKET_BYTES_MAX });
}
