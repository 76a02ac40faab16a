/**
 * What one client sends, on its way from the packet gate to aedes: in steps that keep their order, or round aedes by the lane
 * when nothing stands before it. Decides when the client is not read. Sends nothing, and ends no connection.
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
  /** Packets of one client that aedes works on at a time. */
  readonly inflight: number;
}

/** The part of aedes' client that a connection drives. */
export interface EngineInput {
  close(): void;
  /** Takes a step without being asked; only for packets that may overtake nothing and wait for nothing. */
  feed(step: Buffer): void;
  /** Packets that it works on. */
  packetsInProgress(): number;
}

/** A way round the engine for packets that nothing stands before. */
export interface PublishFastPath {
  /** False: the engine has to have it. */
  take(frame: DecodedPacket): boolean;
  /** So many of the client's messages are on their way that no other one may follow, on either way. */
  isFull(): boolean;
  /** None of them is. */
  isEmpty(): boolean;
}

/** Why a client isn't read; it is read again when no reason is left. */
export const PauseReason = { rate: 1, storage: 2, shutdown: 4 } as const;
export type PauseReason = (typeof PauseReason)[keyof typeof PauseReason];

/** Who hears of what arrives; called synchronously. */
export interface ReceiveOwner {
  /** The client's CONNECT is complete; nothing else is handed to aedes before `open()`. */
  connectReceived(connect: ConnectFields): void;
  protocolViolated(violation: ProtocolViolation): void;
  /** A packet passed the gate. False: it is dropped, since the owner has ended the connection. */
  packetReceived(frame: DecodedPacket): boolean;
  /** Something was thrown while its bytes were worked on. */
  failed(error: unknown): void;
}

/** Above this many bytes in either direction the socket is not read. */
const READ_AHEAD = 64 * 1024;

export class ReceiveLoop implements PacketReceiver {
  readonly #socket: TLSSocket;
  readonly #gate: PacketDecoder;
  readonly #steps: PacketBatchQueue;
  readonly #inflight: number;
  #owner: ReceiveOwner;
  #engine: EngineInput | undefined;
  #lane: PublishFastPath | undefined;
  #onReadable: (() => void) | undefined;
  /** aedes has asked for data and found none, so it has to be told about the next. */
  #engineWaits = true;
  /** The last step that it took is one that others of its kind may join. */
  #isJoinable = false;
  #isOpen = false;
  #isHeld = false;
  #pauseReasons = 0;
  #holdsPublishes = false;
  #restedUntil = 0;
  #isContinueScheduled = false;
  #hasEnded = false;
  #isStopped = false;
  #sawDisconnect = false;

  constructor(socket: TLSSocket, limits: ReceiveLimits, owner: ReceiveOwner) {
    this.#socket = socket;
    this.#gate = new PacketDecoder(limits);
    this.#steps = new PacketBatchQueue(limits.inflight);
    this.#inflight = limits.inflight;
    this.#owner = owner;
  }

  get sawDisconnect(): boolean {
    return this.#sawDisconnect;
  }

  /** The client sends no more; what it sent before still counts. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** It is we who do not read: its silence means nothing. */
  get isReadingPaused(): boolean {
    return this.#socket.isPaused();
  }

  /** When it was read again, by the monotonic clock; 0 when it always was. */
  get readingResumedAt(): number {
    return this.#restedUntil;
  }

  /** From now on somebody else decides. */
  setOwner(owner: ReceiveOwner): void {
    this.#owner = owner;
  }

  /** aedes gets the CONNECT packet, and the rest after `ready()`, but for what the lane takes. */
  startEngine(engine: EngineInput, lane: PublishFastPath | undefined): void {
    this.#engine = engine;
    this.#lane = lane;
    this.#isOpen = true;
    this.#wakeEngine();
  }

  /** aedes has finished with CONNECT; what arrived meanwhile goes in. */
  connectFinished(): void {
    this.#isHeld = false;
    if (this.#isStopped || (this.#hasEnded && this.#steps.isEmpty)) this.closeEngine();
    else this.#wakeEngine();
  }

  /** Whom to tell that there is a next step for `next()`, after one call of it found none. */
  whenReadable(listener: (() => void) | undefined): void {
    this.#onReadable = listener;
  }

  /** The next step: packets that may run side by side. Null when there is none. */
  nextBatch(): Buffer | null {
    const step = this.#mayRead ? this.#steps.shift() : undefined;
    if (step === undefined) {
      this.#engineWaits = true;
      if (this.#isReadToItsEnd) this.closeEngine();
      return null;
    }
    this.#isJoinable = isConcurrentBatch(step);
    if ((step[0] as number) >> 4 === PacketType.connect) this.#isHeld = true;
    this.updateReading();
    return step;
  }

  /** Stops reading from the client, which its TCP notices in time. */
  pause(why: PauseReason): void {
    this.#pauseReasons |= why;
    this.#socket.pause();
  }

  resume(why: PauseReason): void {
    this.#pauseReasons &= ~why;
    this.continueReading();
    this.updateReading();
  }

  /** Leaves the client's next PUBLISH unread, and so what follows it; the rest before it goes on. */
  holdPublishes(isHeld: boolean): void {
    this.#holdsPublishes = isHeld;
    if (isHeld) return;
    this.continueReading();
    this.updateReading();
  }

  /** For the lane: it may not be full any more, or be empty. */
  continueReading(): void {
    if (this.#isContinueScheduled || (!this.#gate.hasUnreadBytes && this.#steps.isEmpty)) return;
    this.#isContinueScheduled = true;
    process.nextTick(continueReading, this);
  }

  /** Throws what those throw who work on the bytes. */
  received(chunk: Buffer): void {
    if (this.#isStopped) return;
    this.#handedOver(this.#gate.push(chunk, this));
  }

  /** Reads on if nothing speaks against it, and otherwise not. */
  updateReading(): void {
    const behind =
      this.#gate.hasUnreadBytes || this.#steps.bytes > READ_AHEAD || this.#socket.writableLength > READ_AHEAD;
    const rest = behind || this.#pauseReasons !== 0;
    if (rest === this.#socket.isPaused()) return;
    if (rest) this.#socket.pause();
    else {
      this.#restedUntil = performance.now();
      this.#socket.resume();
    }
  }

  /** The client's end is noted; `closeWhenRead()` follows. */
  end(): void {
    this.#hasEnded = true;
  }

  /** What arrived before the end still counts: aedes closes when it has read it all. */
  closeWhenRead(): void {
    if (this.#isStopped || this.#isReadToItsEnd) this.closeEngine();
  }

  /** Nothing more is taken from the client; aedes may still ask for what waits, until `clear()`. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Forgets what waits for aedes. */
  clear(): void {
    this.#steps.clear();
  }

  closeEngine(): void {
    if (this.#isHeld) return; // aedes forgets to check whether a client closed while it connected; `ready()` follows
    const engine = this.#engine;
    this.#engine = undefined;
    engine?.close();
  }

  // What the gate asks, and hands over.

  mayReceive(first: number): boolean {
    if ((this.#pauseReasons & PauseReason.storage) !== 0 || this.#lane?.isFull() === true) return false;
    return !this.#holdsPublishes || first >> 4 !== PacketType.publish;
  }

  connectDecoded(frame: DecodedPacket, connect: ConnectFields): void {
    this.#steps.add(frame);
    this.#owner.connectReceived(connect);
  }

  packetDecoded(frame: DecodedPacket): void {
    if (this.#isStopped || !this.#owner.packetReceived(frame)) return;
    if (frame.type === PacketType.disconnect) this.#sawDisconnect = true;
    if (frame.type === PacketType.publish && this.#isLaneFree && this.#lane?.take(frame)) return;
    this.#steps.add(frame);
  }

  /** For the turn that `roomAgain()` asked for. */
  resumeDecoding(): void {
    this.#isContinueScheduled = false;
    if (this.#isStopped) return;
    try {
      this.#handedOver(this.#gate.resume(this));
      if (this.#isReadToItsEnd) this.closeEngine();
    } catch (error) {
      this.#owner.failed(error); // no input ends the process
    }
  }

  #handedOver(violation: ProtocolViolation | undefined): void {
    this.#steps.seal();
    if (violation !== undefined) this.#owner.protocolViolated(violation);
    if (this.#isStopped) return;
    this.#wakeEngine();
    this.updateReading();
  }

  /** The client is gone, and all that it had sent is dealt with. */
  get #isReadToItsEnd(): boolean {
    return this.#hasEnded && this.#engineWaits && this.#steps.isEmpty && !this.#gate.hasUnreadBytes;
  }

  /** What must keep its place waits until the lane has done with what came before it. */
  get #mayRead(): boolean {
    return this.#isOpen && !this.#isHeld && (this.#steps.startsConcurrent || this.#lane?.isEmpty() !== false);
  }

  /** Nothing waits for aedes, and what it is working on may be overtaken: messages find their order again in `PublishOrder`. */
  get #isLaneFree(): boolean {
    return this.#isOpen && !this.#isHeld && this.#steps.isCompletelyEmpty && (this.#engineWaits || this.#isJoinable);
  }

  #wakeEngine(): void {
    if (!this.#isOpen || this.#isHeld || this.#steps.isEmpty) return;
    if (this.#engineWaits) {
      this.#engineWaits = false;
      this.#onReadable?.();
      return;
    }
    // Messages that wait for storage must not hold up those behind them: they are stored together.
    const engine = this.#engine;
    while (engine !== undefined && this.#isJoinable && engine.packetsInProgress() < this.#inflight) {
      const step = this.#steps.shiftConcurrent();
      if (step === undefined) break;
      engine.feed(step);
    }
  }
}

function continueReading(inbound: ReceiveLoop): void {
  inbound.resumeDecoding();
}
