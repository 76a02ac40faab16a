/**
 * JSON messages between two programs over one TLS connection, in frames with a length prefix (four bytes, big-endian). The
 * length is checked before a frame is stored, then one schema reads the text.
 */

import type { TLSSocket } from 'node:tls';
import type { z } from 'zod';

const HEAD_BYTES = 4;
/** Limit of a peer that has not authenticated. */
export const UNAUTHENTICATED_FRAME_BYTES = 4 * 1024;
/** Identities and recordings of a large part of a fleet. */
const FRAME_BYTES = 64 * 1024 * 1024;

/** Time for the peer to read the last message. */
const CLOSE_TIMEOUT_MS = 2_000;

/** Why a frame was not taken; never holds what was in it. */
export class FrameRefused extends Error {
  override readonly name = 'FrameRefused';
}

export class FrameReader {
  readonly #most: () => number;
  #parts: Buffer[] = [];
  #held = 0;
  #wanted: number | undefined;

  /** `most`: bytes that a frame may have, asked for each. */
  constructor(most: () => number) {
    this.#most = most;
  }

  /** Throws {@link FrameRefused}. */
  push(bytes: Buffer, take: (text: string) => void): void {
    this.#parts.push(bytes);
    this.#held += bytes.length;
    for (;;) {
      if (this.#wanted === undefined) {
        if (this.#held < HEAD_BYTES) return;
        this.#wanted = this.#cut(HEAD_BYTES).readUInt32BE(0);
        const most = this.#most();
        if (this.#wanted > most) {
          throw new FrameRefused(`expected a message of at most ${most} bytes, found ${this.#wanted}`);
        }
      }
      if (this.#held < this.#wanted) return;
      const frame = this.#cut(this.#wanted);
      this.#wanted = undefined;
      take(frame.toString('utf8'));
    }
  }

  #cut(length: number): Buffer {
    const whole = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    this.#parts = whole.length === length ? [] : [whole.subarray(length)];
    this.#held = whole.length - length;
    return whole.subarray(0, length);
  }
}

export function encodeFrame(message: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(message), 'utf8');
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(text.length);
  return Buffer.concat([head, text]);
}

/** Reads one text with one schema. Throws {@link FrameRefused}. */
export function readMessage<T>(schema: z.ZodType<T>, text: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new FrameRefused('expected JSON, found something else');
  }
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const where = checked.error.issues[0]?.path.slice(0, 4).map(String).join('.') ?? '';
  throw new FrameRefused(`expected a message of this protocol, found something else at "${where.slice(0, 80)}"`);
}

export interface FrameConnectionEvents {
  text(text: string): void;
  /** Once, whatever the cause. */
  closed(reason: string): void;
}

/** One end of such a connection. */
export class FrameConnection {
  readonly #socket: TLSSocket;
  #most = UNAUTHENTICATED_FRAME_BYTES;
  #reason: string | undefined;
  /** When bytes arrived last, on the clock of `performance`. */
  lastReceivedAt = performance.now();

  constructor(socket: TLSSocket, events: FrameConnectionEvents) {
    this.#socket = socket;
    const reader = new FrameReader(() => this.#most);
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => {
      this.lastReceivedAt = performance.now();
      if (this.#reason !== undefined) return; // what follows a bad frame is not looked at
      try {
        reader.push(bytes, (text) => {
          if (this.#reason === undefined) events.text(text);
        });
      } catch (error) {
        if (!(error instanceof FrameRefused)) throw error;
        this.destroy(error.message);
      }
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#reason ??= `its connection failed (${error.code ?? error.message})`;
    });
    socket.once('close', () => events.closed(this.#reason ?? 'it closed its connection'));
  }

  /** The peer has authenticated: larger frames are allowed. */
  markAuthenticated(): void {
    this.#most = FRAME_BYTES;
  }

  send(message: unknown): void {
    if (!this.#socket.destroyed) this.#socket.write(encodeFrame(message));
  }

  /** Sends a last message and closes; the peer has a moment to read it. */
  sendAndClose(message: unknown): void {
    if (this.#socket.destroyed) return;
    this.#reason ??= 'it was told the end';
    this.#socket.end(encodeFrame(message));
    // A peer that goes on sending must not keep the connection open.
    const timeout = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS);
    this.#socket.once('close', () => clearTimeout(timeout));
  }

  destroy(reason: string): void {
    this.#reason ??= reason;
    this.#socket.destroy();
  }
}
