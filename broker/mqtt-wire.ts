/**
 * One client's byte stream between its TLS socket and aedes. Reads flow through the packet gate and reach aedes as
 * whole packets, in steps that keep their order; writes are gathered into one TLS record per turn of the event loop.
 * It stands in for the socket that aedes expects. Knows no identity and no topic rights.
 *
 * Why not the socket itself: aedes would read what it cannot bound, would wait for slow readers inside other clients'
 * publishes, and runs the packets of one chunk concurrently.
 */

import type { TLSSocket } from 'node:tls';
import { Outbox } from './outbox.ts';
import { type Frame, type GateLimits, PacketGate, type PacketReceiver, PacketType } from './packet-gate.ts';
import type { ConnectFields } from './packet-rules.ts';
import { isJoinable, StepQueue } from './step-queue.ts';
import type { Violation } from './violations.ts';

export interface WireLimits extends GateLimits {
  readonly inflight: number;
  readonly outgoing: number;
}

/** Who decides about a connection; called synchronously. */
export interface WireOwner {
  /** The client's CONNECT is complete; nothing else is handed to aedes before `open()`. */
  connectArrived(connect: ConnectFields): void;
  violated(violation: Violation): void;
  /** A packet passed the gate. False: the wire drops it, since the owner has ended the connection. */
  packetArrived(frame: Frame): boolean;
  /** More is waiting to be read by the client than it may leave. */
  overflowed(): void;
  /** Something was thrown while its bytes were worked on. */
  failed(error: unknown): void;
  /** The socket is closed. aedes may still be working on what arrived before. */
  socketClosed(): void;
  /** aedes closes the connection because of an error. */
  engineFailed(error: Error): void;
  /** aedes has let go of the client: will, subscriptions and registration are dealt with. */
  engineFinished(): void;
}

/** The part of aedes' client that a wire drives. */
export interface WireEngine {
  close(): void;
  /** Takes a step without being asked; only for packets that may overtake nothing and wait for nothing. */
  feed(step: Buffer): void;
  /** Packets that it works on. */
  pending(): number;
}

/** A way round the engine for packets that nothing stands before. */
export interface WireLane {
  /** False: the engine has to have it. */
  take(frame: Frame): boolean;
  /** So many of the client's messages are on their way that no other one may follow, on either way. */
  isFull(): boolean;
  /** None of them is. */
  isEmpty(): boolean;
}

/** Why a client isn't read; it is read again when no reason is left. */
export const PauseReason = { rate: 1, storage: 2, shutdown: 4 } as const;
export type PauseReason = (typeof PauseReason)[keyof typeof PauseReason];

type Listener = (...values: unknown[]) => void;

const WIRE = Symbol('wire');
type WiredSocket = TLSSocket & { [WIRE]: MqttWire };

/** Above this many bytes in either direction the socket is not read. */
const READ_AHEAD = 64 * 1024;
const LINGER = 2_000;

export class MqttWire implements PacketReceiver {
  /** Set by aedes. */
  client: unknown;
  readonly #socket: TLSSocket;
  readonly #gate: PacketGate;
  #owner: WireOwner;
  readonly #limits: WireLimits;

  readonly #steps: StepQueue;
  readonly #outbox: Outbox;
  #engine: WireEngine | undefined;
  #lane: WireLane | undefined;
  #onReadable: Listener | undefined;
  /** aedes has asked for data and found none, so it has to be told about the next. */
  #engineWaits = true;
  /** The last step that it took is one that others of its kind may join. */
  #isJoinable = false;
  #isOpen = false;
  #isHeld = false;
  #pauseReasons = 0;
  #restedUntil = 0;
  #isGoingOn = false;
  #socketEnded = false;
  #isDestroyed = false;
  #sawDisconnect = false;

  constructor(socket: TLSSocket, limits: WireLimits, owner: WireOwner) {
    this.#socket = socket;
    this.#limits = limits;
    this.#owner = owner;
    this.#gate = new PacketGate(limits);
    this.#steps = new StepQueue(limits.inflight);
    this.#outbox = new Outbox(socket, 2 * limits.outgoing + limits.packet, () => this.#owner.overflowed());
    const wired = socket as WiredSocket;
    wired[WIRE] = this;
    wired.on('data', onData);
    wired.on('close', onClose);
    wired.on('drain', onDrain);
    wired.on('error', ignore);
  }

  get socket(): TLSSocket {
    return this.#socket;
  }

  get sawDisconnect(): boolean {
    return this.#sawDisconnect;
  }

  /** Bytes that the client has not taken yet. */
  get writableLength(): number {
    return this.#outbox.length;
  }

  /** For how many milliseconds the client has left everything unread. */
  stalledFor(now: number): number {
    return this.#outbox.stalledFor(now);
  }

  /** Hands the connection to aedes: it gets the CONNECT packet, and the rest after `ready()`, but for what the lane takes. */
  open(handle: () => WireEngine, lane?: WireLane): void {
    this.#engine = handle();
    this.#lane = lane;
    this.#isOpen = true;
    this.#wakeEngine();
  }

  /** aedes has finished with CONNECT; what arrived meanwhile goes in. */
  ready(): void {
    this.#isHeld = false;
    if (this.#isDestroyed || (this.#socketEnded && this.#steps.isEmpty)) this.#closeEngine();
    else this.#wakeEngine();
  }

  /** From now on somebody else decides. */
  handTo(owner: WireOwner): void {
    this.#owner = owner;
  }

  /** Nothing can be sent to the client any more. */
  get isGone(): boolean {
    return this.#isDestroyed || this.#socketEnded;
  }

  /** Stops reading from the client, which its TCP notices in time. */
  pauseReading(why: PauseReason): void {
    this.#pauseReasons |= why;
    this.#socket.pause();
  }

  resumeReading(why: PauseReason): void {
    this.#pauseReasons &= ~why;
    this.roomAgain();
    this.#readOrRest();
  }

  /** It is we who do not read: its silence means nothing. */
  get isResting(): boolean {
    return this.#socket.isPaused();
  }

  /** When it was read again, by the monotonic clock; 0 when it always was. */
  get restedUntil(): number {
    return this.#restedUntil;
  }

  /** Acknowledges a message of QoS 1. */
  acknowledge(packetId: number): void {
    if (!this.#isDestroyed) this.#outbox.acknowledge(packetId);
  }

  /** Closes at once: nothing more is read, processed or sent. */
  cut(): void {
    this.#steps.clear();
    this.#outbox.discard();
    this.#isDestroyed = true;
    this.#socket.destroy();
    this.#closeEngine();
  }

  /** Sends what is waiting, `last` included, then closes. Nothing more is read. */
  end(last?: Buffer): void {
    if (this.#isDestroyed) return;
    if (last !== undefined) this.write(last);
    this.#steps.clear();
    this.#outbox.flush();
    this.#isDestroyed = true;
    if (last === undefined) this.#closeSocket();
    else this.#answerAndClose();
    this.#closeEngine();
  }

  // What aedes sees.

  get destroyed(): boolean {
    return this.#isDestroyed;
  }

  setMaxListeners(): this {
    return this;
  }

  on(event: string, listener: Listener): this {
    if (event === 'readable') this.#onReadable = listener;
    return this; // `end`, `close` and `error` reach aedes as close(), when it has read what came before
  }

  once(event: string, listener: Listener): this {
    return this.on(event, listener);
  }

  removeListener(): this {
    return this;
  }

  removeAllListeners(event: string): this {
    if (event === 'readable') this.#onReadable = undefined;
    return this;
  }

  emit(event: string): boolean {
    // The last thing that aedes does with a connection is to release whoever waits for it to drain.
    if (event === 'drain') this.#owner.engineFinished();
    return true;
  }

  /** The next step: packets that may run side by side. Null when there is none. */
  read(): Buffer | null {
    const step = this.#mayRead ? this.#steps.shift() : undefined;
    if (step === undefined) {
      this.#engineWaits = true;
      if (this.#isReadToItsEnd) this.#closeEngine();
      return null;
    }
    this.#isJoinable = isJoinable(step);
    if ((step[0] as number) >> 4 === PacketType.connect) this.#isHeld = true;
    this.#readOrRest();
    return step;
  }

  /** Always true: who reads too slowly is dealt with by `outgoing`, and nobody else waits for it. */
  write(data: Buffer | string): boolean {
    if (!this.#isDestroyed) this.#outbox.write(data);
    return true;
  }

  destroy(error?: Error): this {
    if (this.#isDestroyed) return this;
    if (error instanceof Error) this.#owner.engineFailed(error);
    this.#outbox.flush();
    this.#isDestroyed = true;
    this.#closeSocket();
    return this;
  }

  /** For the lane: it may not be full any more, or be empty. */
  roomAgain(): void {
    if (this.#isGoingOn || (!this.#gate.hasRest && this.#steps.isEmpty)) return;
    this.#isGoingOn = true;
    process.nextTick(goOn, this);
  }

  // What the gate asks, and hands over.

  mayTake(): boolean {
    return (this.#pauseReasons & PauseReason.storage) === 0 && this.#lane?.isFull() !== true;
  }

  connectPacket(frame: Frame, connect: ConnectFields): void {
    this.#steps.add(frame);
    this.#owner.connectArrived(connect);
  }

  packet(frame: Frame): void {
    if (this.#isDestroyed || !this.#owner.packetArrived(frame)) return;
    if (frame.type === PacketType.disconnect) this.#sawDisconnect = true;
    if (frame.type === PacketType.publish && this.#isLaneFree && this.#lane?.take(frame)) return;
    this.#steps.add(frame);
  }

  /** For the listeners below. */
  received(chunk: Buffer): void {
    if (this.#isDestroyed) return;
    this.#handedOver(this.#gate.push(chunk, this));
  }

  goOn(): void {
    this.#isGoingOn = false;
    if (this.#isDestroyed) return;
    this.#handedOver(this.#gate.resume(this));
    if (this.#isReadToItsEnd) this.#closeEngine();
  }

  #handedOver(violation: Violation | undefined): void {
    this.#steps.seal();
    if (violation !== undefined) this.#owner.violated(violation);
    if (this.#isDestroyed) return;
    this.#wakeEngine();
    this.#readOrRest();
  }

  /** The client is gone, and all that it had sent is dealt with. */
  get #isReadToItsEnd(): boolean {
    return this.#socketEnded && this.#engineWaits && this.#steps.isEmpty && !this.#gate.hasRest;
  }

  drained(): void {
    this.#readOrRest();
  }

  failed(error: unknown): void {
    this.#owner.failed(error);
  }

  closed(): void {
    this.#socketEnded = true;
    this.#outbox.discard();
    this.#owner.socketClosed();
    // What arrived before the end still counts: aedes closes when it has read it all.
    if (this.#isDestroyed || this.#isReadToItsEnd) this.#closeEngine();
  }

  /** What must keep its place waits until the lane has done with what came before it. */
  get #mayRead(): boolean {
    return this.#isOpen && !this.#isHeld && (this.#steps.startsJoinable || this.#lane?.isEmpty() !== false);
  }

  /** Nothing waits for aedes, and what it is working on may be overtaken: messages find their order again in `PublishOrder`. */
  get #isLaneFree(): boolean {
    return this.#isOpen && !this.#isHeld && this.#steps.hasNone && (this.#engineWaits || this.#isJoinable);
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
    while (engine !== undefined && this.#isJoinable && engine.pending() < this.#limits.inflight) {
      const step = this.#steps.shiftJoinable();
      if (step === undefined) break;
      engine.feed(step);
    }
  }

  #readOrRest(): void {
    const behind = this.#gate.hasRest || this.#steps.bytes > READ_AHEAD || this.#socket.writableLength > READ_AHEAD;
    const rest = behind || this.#pauseReasons !== 0;
    if (rest === this.#socket.isPaused()) return;
    if (rest) this.#socket.pause();
    else {
      this.#restedUntil = performance.now();
      this.#socket.resume();
    }
  }

  #closeEngine(): void {
    if (this.#isHeld) return; // aedes forgets to check whether a client closed while it connected; `ready()` follows
    const engine = this.#engine;
    this.#engine = undefined;
    engine?.close();
  }

  #closeSocket(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    // Who said DISCONNECT waits for nothing.
    if (this.#sawDisconnect || socket.writableLength === 0) socket.destroy();
    else {
      socket.destroySoon();
      setTimeout(destroySocket, LINGER, socket).unref();
    }
  }

  /** Closes when the client does: unread data would turn our close into a reset, and it would miss the answer. */
  #answerAndClose(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    socket.removeListener('data', onData);
    socket.resume();
    socket.end();
    setTimeout(destroySocket, LINGER, socket).unref();
  }
}

function onData(this: TLSSocket, chunk: Buffer): void {
  const wire = (this as WiredSocket)[WIRE];
  try {
    wire.received(chunk);
  } catch (error) {
    wire.failed(error); // no input ends the process
  }
}

function goOn(wire: MqttWire): void {
  try {
    wire.goOn();
  } catch (error) {
    wire.failed(error);
  }
}

function onDrain(this: TLSSocket): void {
  (this as WiredSocket)[WIRE].drained();
}

function onClose(this: TLSSocket): void {
  (this as WiredSocket)[WIRE].closed();
}

function ignore(): void {}

function destroySocket(socket: TLSSocket): void {
  socket.destroy();
}
