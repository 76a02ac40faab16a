/** Takes bytes as they arrive and gives whole packets. A packet over the size limit is refused before it is buffered. */

import { decodePacket } from './decoder.ts';
import { MalformedPacket, type MqttVersion, type ReceivedPacket } from './packets.ts';

export interface PacketReaderOptions {
  /** Undefined for a server: CONNECT says it. */
  readonly version: MqttVersion | undefined;
  /** Bytes of the longest packet read, without its fixed header. */
  readonly maxBytes: number;
}

const PACKET_TOO_LARGE = 0x95;

export class PacketReader {
  readonly #maxBytes: number;
  #version: MqttVersion | undefined;
  /** The beginning of a packet; nothing between packets, so an idle connection costs nothing. */
  #rest: Buffer | undefined;
  #isStopped = false;

  constructor({ version, maxBytes }: PacketReaderOptions) {
    this.#version = version;
    this.#maxBytes = maxBytes;
  }

  /** Undefined until CONNECT was read. */
  get version(): MqttVersion | undefined {
    return this.#version;
  }

  /** Gives no packet any more, not even of the chunk that is being read. */
  stop(): void {
    this.#isStopped = true;
    this.#rest = undefined;
  }

  /** Throws a MalformedPacket for what the other side may not send; nothing can be read after that. */
  read(chunk: Buffer, handle: (packet: ReceivedPacket) => void): void {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = undefined;
    let at = 0;
    while (at < bytes.length && !this.#isStopped) {
      const start = bodyStart(bytes, at);
      const length = start === 0 ? 0 : bodyLength(bytes, at);
      if (length > this.#maxBytes) {
        throw new MalformedPacket(
          `expected a packet of at most ${this.#maxBytes} bytes, found ${length}`,
          PACKET_TOO_LARGE,
        );
      }
      if (start === 0 || start + length > bytes.length) {
        this.#rest = Buffer.from(bytes.subarray(at)); // a copy: a few bytes would hold the whole chunk
        return;
      }
      const packet = decodePacket(this.#version, bytes[at] as number, bytes, start, start + length);
      if (packet.kind === 'connect') this.#version ??= packet.version;
      at = start + length;
      handle(packet);
    }
  }
}

/** Where the packet's body begins; 0 while its length is not there whole. Four octets of length at most [MQTT-2.2.3]. */
function bodyStart(bytes: Buffer, at: number): number {
  for (let end = at + 1; end < bytes.length; end += 1) {
    if ((bytes[end] as number) < 0x80) return end + 1;
    if (end - at === 4) throw new MalformedPacket('malformed length');
  }
  return 0;
}

function bodyLength(bytes: Buffer, at: number): number {
  let length = 0;
  let factor = 1;
  for (let octet = at + 1; ; octet += 1) {
    const byte = bytes[octet] as number;
    length += (byte & 0x7f) * factor;
    if (byte < 0x80) return length;
    factor *= 128;
  }
}
