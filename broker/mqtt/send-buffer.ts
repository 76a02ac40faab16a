/**
 * Bytes to be sent to one client. What is written in one turn of the event loop is sent as one TLS record. A slow reader delays
 * no other client; `length` and `stalledFor` tell how far it is behind.
 */

import type { ByteStream } from './byte-stream.ts';

/** Larger amounts are written piece by piece instead of concatenated. */
const CONCATENATED_MAX = 64 * 1024;
const PUBACK = 0x40;
const PUBACK_BYTES = 4;

export class SendBuffer {
  readonly #socket: ByteStream;
  readonly #limit: number;
  readonly #overflowed: () => void;
  #pieces: Buffer[] = [];
  /** Packet identifiers of the PUBACKs after the pieces. The array is reused, so its length is not their number. */
  readonly #acknowledged: number[] = [];
  #acknowledgements = 0;
  #bytes = 0;
  #isFlushPending = false;
  #isHeld = false;
  #written = 0;
  /** Negative before the first check, which therefore never reports a stall. */
  #flushedBefore = -1;
  #unchangedSince = 0;

  /** `overflowed` is called when more than `limit` bytes wait. */
  constructor(socket: ByteStream, limit: number, overflowed: () => void) {
    this.#socket = socket;
    this.#limit = limit;
    this.#overflowed = overflowed;
  }

  /** Bytes that the client has not read yet. */
  get length(): number {
    return this.#bytes + this.#socket.writableLength;
  }

  write(data: Buffer | string): void {
    const piece = typeof data === 'string' ? Buffer.from(data) : data;
    if (this.#acknowledgements > 0) this.#pieces.push(this.#takeAcknowledgements());
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    this.#flushSoon();
  }

  /** Writes a PUBACK (MQTT 3.1.1, section 3.4). Those of one turn form one piece. */
  acknowledge(packetId: number): void {
    this.#acknowledged[this.#acknowledgements] = packetId;
    this.#acknowledgements += 1;
    this.#bytes += PUBACK_BYTES;
    this.#flushSoon();
  }

  /** Sends nothing until `release()`. What is written meanwhile waits here, and is discarded when the connection ends first. */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.flush();
  }

  /** Writes everything to the socket now. */
  flush(): void {
    this.#isFlushPending = false;
    const bytes = this.#bytes;
    if (bytes === 0) return;
    if (this.#isHeld) {
      if (bytes > this.#limit) this.#overflowed();
      return;
    }
    const socket = this.#socket;
    if (socket.destroyed) {
      this.discard();
      return;
    }
    const acknowledgements = this.#acknowledgements > 0 ? this.#takeAcknowledgements() : undefined;
    const pieces = this.#pieces;
    this.#bytes = 0;
    this.#written += bytes;
    if (pieces.length === 0) socket.write(acknowledgements as Buffer);
    else {
      this.#pieces = [];
      if (acknowledgements !== undefined) pieces.push(acknowledgements);
      writeAll(socket, pieces, bytes);
    }
    if (socket.writableLength > this.#limit) this.#overflowed();
  }

  discard(): void {
    this.#pieces = [];
    this.#acknowledgements = 0;
    this.#bytes = 0;
  }

  #flushSoon(): void {
    if (this.#isFlushPending) return;
    this.#isFlushPending = true;
    process.nextTick(flush, this);
  }

  #takeAcknowledgements(): Buffer {
    const count = this.#acknowledgements;
    const bytes = Buffer.allocUnsafe(count * PUBACK_BYTES);
    for (let i = 0, at = 0; i < count; i += 1, at += PUBACK_BYTES) {
      const id = this.#acknowledged[i] as number;
      bytes[at] = PUBACK;
      bytes[at + 1] = PUBACK_BYTES - 2;
      bytes[at + 2] = id >> 8;
      bytes[at + 3] = id & 0xff;
    }
    this.#acknowledgements = 0;
    return bytes;
  }

  /** For how many milliseconds the client has read nothing. Measured from call to call. */
  stalledFor(now: number): number {
    const waiting = this.#socket.writableLength;
    const flushed = this.#written - waiting;
    if (waiting === 0 || flushed !== this.#flushedBefore) {
      this.#flushedBefore = flushed;
      this.#unchangedSince = now;
    }
    return now - this.#unchangedSince;
  }
}

function writeAll(socket: ByteStream, pieces: readonly Buffer[], bytes: number): void {
  if (pieces.length === 1) socket.write(pieces[0] as Buffer);
  else if (bytes <= CONCATENATED_MAX) socket.write(Buffer.concat(pieces, bytes));
  else {
    socket.cork();
    for (const piece of pieces) socket.write(piece);
    socket.uncork();
  }
}

function flush(outbox: SendBuffer): void {
  outbox.flush();
}
