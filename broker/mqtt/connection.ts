/**
 * One client's byte stream between its TLS socket and aedes, for which it stands in for the socket. What arrives goes through
 * `Inbound`; what is sent is gathered into one TLS record per turn of the event loop. Knows no identity and no topic rights.
 *
 * Why not the socket itself: aedes would read what it cannot bound, would wait for slow readers inside other clients'
 * publishes, and runs the packets of one chunk concurrently.
 */

import type { TLSSocket } from 'node:tls';
import {
  type EngineInput,
  type PauseReason,
  type PublishFastPath,
  type ReceiveLimits,
  ReceiveLoop,
  type ReceiveOwner,
} from './receive-loop.ts';
import { SendBuffer } from './send-buffer.ts';

export interface ConnectionLimits extends ReceiveLimits {
  /** Bytes that a client may leave unread, about. */
  readonly outgoing: number;
}

/** Who decides about a connection; called synchronously. */
export interface ConnectionOwner extends ReceiveOwner {
  /** More is waiting to be read by the client than it may leave. */
  sendBufferOverflowed(): void;
  /** The socket is closed. aedes may still be working on what arrived before. */
  socketClosed(): void;
  /** aedes closes the connection because of an error. */
  engineFailed(error: Error): void;
  /** aedes has let go of the client: will, subscriptions and registration are dealt with. */
  engineFinished(): void;
}

type Listener = (...values: unknown[]) => void;

const CONNECTION = Symbol('connection');
type ConnectionSocket = TLSSocket & { [CONNECTION]: MqttConnection };

/** How long a client may take to read the last that it is sent, ms. */
const LINGER_MS = 2_000;

export class MqttConnection {
  /** Set by aedes. */
  client: unknown;
  readonly #socket: TLSSocket;
  readonly #inbound: ReceiveLoop;
  readonly #outbox: SendBuffer;
  #owner: ConnectionOwner;
  #isDestroyed = false;

  constructor(socket: TLSSocket, limits: ConnectionLimits, owner: ConnectionOwner) {
    this.#socket = socket;
    this.#owner = owner;
    this.#inbound = new ReceiveLoop(socket, limits, owner);
    this.#outbox = new SendBuffer(socket, 2 * limits.outgoing + limits.packet, () =>
      this.#owner.sendBufferOverflowed(),
    );
    const wired = socket as ConnectionSocket;
    wired[CONNECTION] = this;
    wired.on('data', onData);
    wired.on('close', onClose);
    wired.on('drain', onDrain);
    wired.on('error', ignore);
  }

  get socket(): TLSSocket {
    return this.#socket;
  }

  get sawDisconnect(): boolean {
    return this.#inbound.sawDisconnect;
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
  startEngine(handle: () => EngineInput, lane?: PublishFastPath): void {
    this.#inbound.startEngine(handle(), lane);
  }

  /** aedes has finished with CONNECT; what arrived meanwhile goes in. */
  connectFinished(): void {
    this.#inbound.connectFinished();
  }

  /** From now on somebody else decides. */
  setOwner(owner: ConnectionOwner): void {
    this.#owner = owner;
    this.#inbound.setOwner(owner);
  }

  /** Nothing can be sent to the client any more. */
  get isGone(): boolean {
    return this.#isDestroyed || this.#inbound.hasEnded;
  }

  /** Stops reading from the client, which its TCP notices in time. */
  pauseReading(why: PauseReason): void {
    this.#inbound.pause(why);
  }

  resumeReading(why: PauseReason): void {
    this.#inbound.resume(why);
  }

  /** Leaves the client's next PUBLISH unread, or not any more. */
  holdPublishes(isHeld: boolean): void {
    this.#inbound.holdPublishes(isHeld);
  }

  /** It is we who do not read: its silence means nothing. */
  get isReadingPaused(): boolean {
    return this.#inbound.isReadingPaused;
  }

  /** When it was read again, by the monotonic clock; 0 when it always was. */
  get readingResumedAt(): number {
    return this.#inbound.readingResumedAt;
  }

  /** For the lane: it may not be full any more, or be empty. */
  continueReading(): void {
    this.#inbound.continueReading();
  }

  /** Acknowledges a message of QoS 1. */
  acknowledge(packetId: number): void {
    if (!this.#isDestroyed) this.#outbox.acknowledge(packetId);
  }

  /** Closes at once: nothing more is read, processed or sent. */
  terminate(): void {
    this.#inbound.clear();
    this.#outbox.discard();
    this.#stop();
    this.#socket.destroy();
    this.#inbound.closeEngine();
  }

  /** Sends what is waiting, `last` included, then closes. Nothing more is read. */
  end(last?: Buffer): void {
    if (this.#isDestroyed) return;
    if (last !== undefined) this.write(last);
    this.#inbound.clear();
    this.#outbox.flush();
    this.#stop();
    if (last === undefined) this.#closeSocket();
    else this.#answerAndClose();
    this.#inbound.closeEngine();
  }

  // What aedes sees.

  get destroyed(): boolean {
    return this.#isDestroyed;
  }

  setMaxListeners(): this {
    return this;
  }

  on(event: string, listener: Listener): this {
    if (event === 'readable') this.#inbound.whenReadable(listener);
    return this; // `end`, `close` and `error` reach aedes as close(), when it has read what came before
  }

  once(event: string, listener: Listener): this {
    return this.on(event, listener);
  }

  removeListener(): this {
    return this;
  }

  removeAllListeners(event: string): this {
    if (event === 'readable') this.#inbound.whenReadable(undefined);
    return this;
  }

  emit(event: string): boolean {
    // The last thing that aedes does with a connection is to release whoever waits for it to drain.
    if (event === 'drain') this.#owner.engineFinished();
    return true;
  }

  /** The next step: packets that may run side by side. Null when there is none. */
  read(): Buffer | null {
    return this.#inbound.nextBatch();
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
    this.#stop();
    this.#closeSocket();
    return this;
  }

  // For the listeners below.

  received(chunk: Buffer): void {
    try {
      this.#inbound.received(chunk);
    } catch (error) {
      this.#owner.failed(error); // no input ends the process
    }
  }

  drained(): void {
    this.#inbound.updateReading();
  }

  closed(): void {
    this.#inbound.end();
    this.#outbox.discard();
    this.#owner.socketClosed();
    this.#inbound.closeWhenRead();
  }

  #stop(): void {
    this.#isDestroyed = true;
    this.#inbound.stop();
  }

  #closeSocket(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    // Who said DISCONNECT waits for nothing.
    if (this.#inbound.sawDisconnect || socket.writableLength === 0) socket.destroy();
    else {
      socket.destroySoon();
      setTimeout(destroySocket, LINGER_MS, socket).unref();
    }
  }

  /** Closes when the client does: unread data would turn our close into a reset, and it would miss the answer. */
  #answerAndClose(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    socket.removeListener('data', onData);
    socket.resume();
    socket.end();
    setTimeout(destroySocket, LINGER_MS, socket).unref();
  }
}

function onData(this: TLSSocket, chunk: Buffer): void {
  (this as ConnectionSocket)[CONNECTION].received(chunk);
}

function onDrain(this: TLSSocket): void {
  (this as ConnectionSocket)[CONNECTION].drained();
}

function onClose(this: TLSSocket): void {
  (this as ConnectionSocket)[CONNECTION].closed();
}

function ignore(): void {}

function destroySocket(socket: TLSSocket): void {
  socket.destroy();
}
