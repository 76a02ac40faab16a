/**
 * Bytes on their way to one client: what is written in one turn of the event loop leaves as one TLS record. Nobody waits
 * for a slow reader here; how far it is behind can be asked.
 */

import type { TLSSocket } from 'node:tls';

/** Larger amounts are not copied together. */
const GATHER_MAX = 64 * 1024;

export class Outbox {
  readonly #socket: TLSSocket;
  readonly #most: number;
  readonly #overflowed: () => void;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #isFlushPending = false;
  #written = 0;
  /** Negative until it was looked at: nothing is stalled at first sight. */
  #flushedBefore = -1;
  #unchangedSince = 0;

  /** `overflowed` is called when more than `most` bytes wait. */
  constructor(socket: TLSSocket, most: number, overflowed: () => void) {
    this.#socket = socket;
    this.#most = most;
    this.#overflowed = overflowed;
  }

  /** Bytes that the client has not taken yet. */
  get length(): number {
    return this.#bytes + this.#socket.writableLength;
  }

  write(data: Buffer | string): void {
    const piece = typeof data === 'string' ? Buffer.from(data) : data;
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    if (this.#isFlushPending) return;
    this.#isFlushPending = true;
    process.nextTick(flush, this);
  }

  /** Hands everything to the socket now. */
  flush(): void {
    this.#isFlushPending = false;
    const pieces = this.#pieces;
    if (pieces.length === 0) return;
    const bytes = this.#bytes;
    const socket = this.#socket;
    this.discard();
    if (socket.destroyed) return;
    this.#written += bytes;
    if (pieces.length === 1) socket.write(pieces[0] as Buffer);
    else if (bytes <= GATHER_MAX) socket.write(Buffer.concat(pieces, bytes));
    else {
      socket.cork();
      for (const piece of pieces) socket.write(piece);
      socket.uncork();
    }
    if (socket.writableLength > this.#most) this.#overflowed();
  }

  discard(): void {
    this.#pieces = [];
    this.#bytes = 0;
  }

  /** For how many milliseconds the client has left everything unread; judged whenever it is asked for. */
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

function flush(outbox: Outbox): void {
  outbox.flush();
}
