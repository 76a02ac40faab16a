/** Reads the data types of MQTT 5 (section 1.5) out of bytes, and no byte behind their end. Throws a MalformedPacket. */

import { isUtf8 } from 'node:buffer';
import { MalformedPacket } from './packets.ts';

export class ByteReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, at: number = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  byte(): number {
    return this.#bytes[this.#advance(1)] as number;
  }

  uint16(): number {
    return this.#bytes.readUInt16BE(this.#advance(2));
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.#advance(4));
  }

  /** Four bytes at most, and no more of them than needed [MQTT-1.5.5-1]. */
  variable(): number {
    let value = 0;
    for (let octet = 0; octet < 4; octet += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * 128 ** octet;
      if (byte < 0x80) {
        if (byte === 0 && octet > 0) break;
        return value;
      }
    }
    throw new MalformedPacket('malformed variable byte integer');
  }

  /** Well-formed UTF-8 without U+0000 [MQTT-1.5.4-1, MQTT-1.5.4-2]. */
  text(): string {
    const bytes = this.bytes();
    if (!isUtf8(bytes) || bytes.includes(0)) throw new MalformedPacket('malformed text');
    return bytes.toString('utf8');
  }

  /** Binary data with two bytes of length in front; part of the original bytes. */
  bytes(): Buffer {
    const length = this.uint16();
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** Everything that is left. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#advance(this.left), this.#end);
  }

  /** The next `length` bytes, as a reader of their own. */
  part(length: number): ByteReader {
    const at = this.#advance(length);
    return new ByteReader(this.#bytes, at, at + length);
  }

  /** Where the next `length` bytes begin. */
  #advance(length: number): number {
    const at = this.#at;
    if (at + length > this.#end) throw new MalformedPacket('malformed packet: it ends too early');
    this.#at += length;
    return at;
  }
}
