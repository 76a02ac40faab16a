/**
 * Receives the packets of one client: from the decoder to the fast path, or to aedes in batches that keep their order. Decides
 * when the socket is not read. Sends nothing, and ends no connection.
 */

import type { TLSSocket } from 'node:tls';
import { isConcurrentBatch, PacketBatchQueue } from './packet-batches.ts';
import {
  type DecodedPacket,
  PacketDecoder,
  type PacketLimits,
  type PacketReceiver,
  PacketType,
} from './packet-decoder.ts';
import type { ConnectFields } from './packet-validation.ts';
import type { ProtocolViolation } from './protocol-violations.ts';

export interface ReceiveLimits extends PacketLimits {
  /** Packets of one client that aedes processes at a time. */
  readonly inflight: number;
}

/** aedes' client, as the receive loop uses it. */
export interface EngineInput {
  close(): void;
  /** Processes a batch at once. Only for packets that may be processed concurrently with those in progress. */
  feed(batch: Buffer): void;
  /** Packets that are being processed. */
  packetsInProgress(): number;
}

/** Handles a PUBLISH without aedes. Used only when no earlier packet of the client waits. */
export interface PublishFastPath {
  /** False: aedes has to handle the packet. */
  take(packet: DecodedPacket): boolean;
  /** The client has as many messages in flight as it may have. */
  isFull(): boolean;
  /** The client has no message in flight. */
  isEmpty(): boolean;
}

/** Why the socket of a client is not read. Reading resumes when no reason is left. */
export const PauseReason = { rate: 1, storage: 2, shutdown: 4 } as const;
export type PauseReason = (typeof PauseReason)[keyof typeof PauseReason];

/** Is told what was received; called synchronously. */
export interface ReceiveOwner {
  /** CONNECT is complete. aedes gets no packet before `startEngine()`. */
  connectReceived(connect: ConnectFields): void;
  protocolViolated(violation: ProtocolViolation): void;
  /** A packet is decoded and valid. False: the owner has ended the connection, and the packet is dropped. */
  packetReceived(packet: DecodedPacket): boolean;
  /** Processing the received bytes threw an error. */
  failed(error: unknown): void;
}

/** With more bytes than this waiting in either direction, the socket is not read. */
const READ_AHEAD = 64 * 1024;

export class ReceiveLoop implements PacketReceiver {
  readonly #socket: TLSSocket;
  readonly #decoder: PacketDecoder;
  readonly #batches: PacketBatchQueue;
  readonly #inflight: number;
  #owner: ReceiveOwner;
  #engine: EngineInput | undefined;
  #fastPath: PublishFastPath | undefined;
  #onReadable: (() => void) | undefined;
  /** aedes has asked for data and got none: it has to be notified of the next batch. */
  #engineWaits = true;
  /** The last batch given to aedes may be processed concurrently with others. */
  #isConcurrent = false;
  #isOpen = false;
  #isConnecting = false;
  #pauseReasons = 0;
  #holdsPublishes = false;
  #resumedAt = 0;
  #isContinueScheduled = false;
  #hasEnded = false;
  #isStopped = false;
  #sawDisconnect = false;

  constructor(socket: TLSSocket, limits: ReceiveLimits, owner: ReceiveOwner) {
    this.#socket = socket;
    this.#decoder = new PacketDecoder(limits);
    this.#batches = new PacketBatchQueue(limits.inflight);
    this.#inflight = limits.inflight;
    this.#owner = owner;
  }

  get sawDisconnect(): boolean {
    return this.#sawDisconnect;
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

  /** Replaces the owner. */
  setOwner(owner: ReceiveOwner): void {
    this.#owner = owner;
  }

  /** Gives CONNECT to aedes. Later packets follow after `connectFinished()`, except those of the fast path. */
  startEngine(engine: EngineInput, fastPath: PublishFastPath | undefined): void {
    this.#engine = engine;
    this.#fastPath = fastPath;
    this.#isOpen = true;
    this.#wakeEngine();
  }

  /** aedes has processed CONNECT. Packets received meanwhile follow. */
  connectFinished(): void {
    this.#isConnecting = false;
    if (this.#isStopped || (this.#hasEnded && this.#batches.isEmpty)) this.closeEngine();
    else this.#wakeEngine();
  }

  /** Sets the listener that is called when `nextBatch()` has a batch again, after it returned null. */
  whenReadable(listener: (() => void) | undefined): void {
    this.#onReadable = listener;
  }

  /** The next batch of packets that may be processed concurrently; null when there is none. */
  nextBatch(): Buffer | null {
    const batch = this.#mayRead ? this.#batches.shift() : undefined;
    if (batch === undefined) {
      this.#engineWaits = true;
      if (this.#isReadToItsEnd) this.closeEngine();
      return null;
    }
    this.#isConcurrent = isConcurrentBatch(batch);
    if ((batch[0] as number) >> 4 === PacketType.connect) this.#isConnecting = true;
    this.updateReading();
    return batch;
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

  /** Leaves the client's next PUBLISH, and everything after it, unread (true), or reads on (false). */
  holdPublishes(isHeld: boolean): void {
    this.#holdsPublishes = isHeld;
    if (isHeld) return;
    this.continueReading();
    this.updateReading();
  }

  /** Called when the fast path has room again, or is empty. */
  continueReading(): void {
    if (this.#isContinueScheduled || (!this.#decoder.hasUnreadBytes && this.#batches.isEmpty)) return;
    this.#isContinueScheduled = true;
    process.nextTick(continueReading, this);
  }

  /** Throws what the receivers of the bytes throw. */
  received(chunk: Buffer): void {
    if (this.#isStopped) return;
    this.#decoded(this.#decoder.push(chunk, this));
  }

  /** Pauses or resumes reading from the socket, as the reasons and the amounts of waiting bytes demand. */
  updateReading(): void {
    const behind =
      this.#decoder.hasUnreadBytes || this.#batches.bytes > READ_AHEAD || this.#socket.writableLength > READ_AHEAD;
    const mustPause = behind || this.#pauseReasons !== 0;
    if (mustPause === this.#socket.isPaused()) return;
    if (mustPause) this.#socket.pause();
    else {
      this.#resumedAt = performance.now();
      this.#socket.resume();
    }
  }

  /** The socket is closed. `closeWhenRead()` follows. */
  end(): void {
    this.#hasEnded = true;
  }

  /** Closes aedes' client when aedes has read everything that was received before the end. */
  closeWhenRead(): void {
    if (this.#isStopped || this.#isReadToItsEnd) this.closeEngine();
  }

  /** Receives nothing more. aedes may still read what waits, until `clear()`. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Drops what waits for aedes. */
  clear(): void {
    this.#batches.clear();
  }

  closeEngine(): void {
    if (this.#isConnecting) return; // aedes does not check whether a client closed during CONNECT; `connectFinished()` follows.
    const engine = this.#engine;
    this.#engine = undefined;
    engine?.close();
  }

  // Called by the decoder.

  mayReceive(first: number): boolean {
    if ((this.#pauseReasons & PauseReason.storage) !== 0 || this.#fastPath?.isFull() === true) return false;
    return !this.#holdsPublishes || first >> 4 !== PacketType.publish;
  }

  connectDecoded(packet: DecodedPacket, connect: ConnectFields): void {
    this.#batches.add(packet);
    this.#owner.connectReceived(connect);
  }

  packetDecoded(packet: DecodedPacket): void {
    if (this.#isStopped || !this.#owner.packetReceived(packet)) return;
    if (packet.type === PacketType.disconnect) this.#sawDisconnect = true;
    if (packet.type === PacketType.publish && this.#isFastPathUsable && this.#fastPath?.take(packet)) return;
    this.#batches.add(packet);
  }

  /** Runs in the turn that `continueReading()` has scheduled. */
  resumeDecoding(): void {
    this.#isContinueScheduled = false;
    if (this.#isStopped) return;
    try {
      this.#decoded(this.#decoder.resume(this));
      if (this.#isReadToItsEnd) this.closeEngine();
    } catch (error) {
      this.#owner.failed(error); // No input may end the process.
    }
  }

  #decoded(violation: ProtocolViolation | undefined): void {
    this.#batches.seal();
    if (violation !== undefined) this.#owner.protocolViolated(violation);
    if (this.#isStopped) return;
    this.#wakeEngine();
    this.updateReading();
  }

  /** The client has closed, and everything it sent is processed. */
  get #isReadToItsEnd(): boolean {
    return this.#hasEnded && this.#engineWaits && this.#batches.isEmpty && !this.#decoder.hasUnreadBytes;
  }

  /** A batch that must keep its place waits until the fast path is empty. */
  get #mayRead(): boolean {
    return (
      this.#isOpen && !this.#isConnecting && (this.#batches.startsConcurrent || this.#fastPath?.isEmpty() !== false)
    );
  }

  /** Nothing waits for aedes, and the packets in progress may be overtaken: `AcknowledgementOrder` restores the order. */
  get #isFastPathUsable(): boolean {
    return (
      this.#isOpen &&
      !this.#isConnecting &&
      this.#batches.isCompletelyEmpty &&
      (this.#engineWaits || this.#isConcurrent)
    );
  }

  #wakeEngine(): void {
    if (!this.#isOpen || this.#isConnecting || this.#batches.isEmpty) return;
    if (this.#engineWaits) {
      this.#engineWaits = false;
      this.#onReadable?.();
      return;
    }
    // Messages that wait for storage do not delay later ones: they are stored together.
    const engine = this.#engine;
    while (engine !== undefined && this.#isConcurrent && engine.packetsInProgress() < this.#inflight) {
      const batch = this.#batches.shiftConcurrent();
      if (batch === undefined) break;
      engine.feed(batch);
    }
  }
}

function continueReading(inbound: ReceiveLoop): void {
  inbound.resumeDecoding();
}
