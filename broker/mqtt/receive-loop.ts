/**
 * Reads one client: decides when its socket is read, and passes what it sends through the decoder to the owner of the connection. What
 * the owner does not accept yet stays in the decoder, and the socket is not read meanwhile. Sends nothing, and ends no connection.
 */

import type { ByteStream } from './byte-stream.ts';
import { PacketDecoder } from './codec/packet-decoder.ts';
import type { PacketLimits } from './codec/packet-limits.ts';
import type { ProtocolViolation } from './codec/protocol-violations.ts';
import type { PacketHandlers, ProtocolVersion } from './packets.ts';

/** Why the socket of a client is not read. Reading resumes when no reason is left. */
export const PauseReason = { rate: 1, storage: 2, shutdown: 4, deaf: 8 } as const;
export type PauseReason = (typeof PauseReason)[keyof typeof PauseReason];

/** Is told what was received; called synchronously. */
export interface ReceiveOwner extends PacketHandlers {
  protocolViolated(violation: ProtocolViolation): void;
  /** Processing the received bytes threw an error. */
  failed(error: unknown): void;
  /** The client has closed the connection, and everything that it sent before is processed. */
  readToEnd(): void;
}

/** With more bytes than this waiting to be sent, the socket is not read. */
const READ_AHEAD = 64 * 1024;

export class ReceiveLoop {
  readonly #socket: ByteStream;
  readonly #decoder: PacketDecoder;
  #owner: ReceiveOwner;
  #pauseReasons = 0;
  #resumedAt = 0;
  #isContinueScheduled = false;
  #hasEnded = false;
  #isStopped = false;

  constructor(socket: ByteStream, limits: PacketLimits, owner: ReceiveOwner) {
    this.#socket = socket;
    this.#decoder = new PacketDecoder(limits);
    this.#owner = owner;
  }

  /** The MQTT version that CONNECT states; undefined before it, and for one that the broker does not speak. */
  get version(): ProtocolVersion | undefined {
    return this.#decoder.version;
  }

  /** The client sends no more. What it sent before is still processed. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** The broker does not read, so keep-alive does not apply. */
  get isReadingPaused(): boolean {
    return this.#socket.isPaused();
  }

  /** When reading was last resumed, by the monotonic clock; 0 if it was never paused. */
  get readingResumedAt(): number {
    return this.#resumedAt;
  }

  isPausedFor(why: PauseReason): boolean {
    return (this.#pauseReasons & why) !== 0;
  }

  /** Replaces the owner. */
  setOwner(owner: ReceiveOwner): void {
    this.#owner = owner;
  }

  /** Stops reading from the client; TCP flow control then stops it from sending. */
  pause(why: PauseReason): void {
    this.#pauseReasons |= why;
    this.#socket.pause();
  }

  resume(why: PauseReason): void {
    this.#pauseReasons &= ~why;
    this.continueReading();
    this.updateReading();
  }

  /** Called when the owner may accept packets again. */
  continueReading(): void {
    if (this.#isContinueScheduled || !this.#decoder.hasUnreadBytes) return;
    this.#isContinueScheduled = true;
    process.nextTick(continueReading, this);
  }

  received(chunk: Buffer): void {
    if (this.#isStopped) return;
    try {
      this.#decoded(this.#decoder.push(chunk, this.#owner));
    } catch (error) {
      this.#owner.failed(error); // No input may end the process.
    }
  }

  /** Pauses or resumes reading from the socket, as the reasons and the amounts of waiting bytes demand. */
  updateReading(): void {
    const isBehind = this.#decoder.hasUnreadBytes || this.#socket.writableLength > READ_AHEAD;
    const mustPause = isBehind || this.#pauseReasons !== 0;
    if (mustPause === this.#socket.isPaused()) return;
    if (mustPause) this.#socket.pause();
    else {
      this.#resumedAt = performance.now();
      this.#socket.resume();
    }
  }

  /** The socket is closed. */
  end(): void {
    this.#hasEnded = true;
    this.#reportEnd();
  }

  /** Receives nothing more, and drops what was not accepted yet. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Runs in the turn that `continueReading()` has scheduled. */
  resumeDecoding(): void {
    this.#isContinueScheduled = false;
    if (this.#isStopped) return;
    try {
      this.#decoded(this.#decoder.resume(this.#owner));
      this.#reportEnd();
    } catch (error) {
      this.#owner.failed(error); // No input may end the process.
    }
  }

  #decoded(violation: ProtocolViolation | undefined): void {
    if (this.#isStopped) return;
    if (violation !== undefined) this.#owner.protocolViolated(violation);
    else this.updateReading();
  }

  #reportEnd(): void {
    if (this.#hasEnded && (this.#isStopped || !this.#decoder.hasUnreadBytes)) this.#owner.readToEnd();
  }
}

function continueReading(loop: ReceiveLoop): void {
  loop.resumeDecoding();
}
