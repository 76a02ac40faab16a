/** Splits a byte stream into MQTT packets, and refuses a packet over the size limit before it is buffered. */

/** A fixed header is one byte and one to four of length (MQTT 3.1.1, section 2.2). */
const LENGTH_BYTES_MAX = 4;

export class FrameError extends Error {
  override readonly name = 'FrameError';
}

export class MqttFrames {
  readonly #most: number;
  #rest: Buffer = Buffer.alloc(0);

  /** `most`: bytes of a whole packet. */
  constructor(most: number) {
    this.#most = most;
  }

  /** The packets that are complete now. Throws a FrameError for one that is too long or has no valid length. */
  push(chunk: Buffer): readonly Buffer[] {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Buffer[] = [];
    for (;;) {
      const length = frameLength(rest);
      if (length !== undefined && length > this.#most) {
        throw new FrameError(`expected a packet of at most ${this.#most} bytes, found one of ${length}`);
      }
      if (length === undefined || length > rest.length) break;
      frames.push(rest.subarray(0, length));
      rest = rest.subarray(length);
    }
    this.#rest = rest;
    return frames;
  }
}

/** Bytes of the packet that begins here; undefined while its length is not complete. */
function frameLength(bytes: Buffer): number | undefined {
  let length = 0;
  for (let index = 0; index < LENGTH_BYTES_MAX; index += 1) {
    const byte = bytes[1 + index];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 128 ** index;
    if ((byte & 0x80) === 0) return 2 + index + length;
  }
  throw new FrameError('expected a length of at most four bytes'); // [MQTT-2.2.3]
}
