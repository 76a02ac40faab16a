/**
 * One client's byte stream between its TLS socket and aedes, which uses this object as its stream. Received bytes go through
 * `ReceiveLoop`, sent bytes through `SendBuffer`. Knows no identity and no topic rights.
 *
 * aedes does not get the socket itself: it would read without bounds, would wait for slow readers inside the publishes of
 * other clients, and processes all packets of one chunk concurrently.
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
  /** Approximate bytes that a client may leave unread. */
  readonly outgoing: number;
}

/** Decides about a connection: first the pending connection, then the session. Called synchronously. */
export interface ConnectionOwner extends ReceiveOwner {
  /** More bytes wait to be sent than the client may leave unread. */
  sendBufferOverflowed(): void;
  /** The socket is closed. aedes may still process packets that were received before. */
  socketClosed(): void;
  /** aedes closes the connection because of an error. */
  engineFailed(error: Error): void;
  /** aedes has released the client: will, subscriptions and registration are done. */
  engineFinished(): void;
}

type Listener = (...values: unknown[]) => void;

const CONNECTION = Symbol('connection');
type ConnectionSocket = TLSSocket & { [CONNECTION]: MqttConnection };

/** How long a client may take to read the last bytes before its socket is destroyed, in ms. */
const LINGER_MS = 2_000;

export class MqttConnection {
  /** Set by aedes. */
  client: unknown;
  readonly #socket: TLSSocket;
  readonly #receiveLoop: ReceiveLoop;
  readonly #sendBuffer: SendBuffer;
  #owner: ConnectionOwner;
  #isDestroyed = false;

  constructor(socket: TLSSocket, limits: ConnectionLimits, owner: ConnectionOwner) {
    this.#socket = socket;
    this.#owner = owner;
    this.#receiveLoop = new ReceiveLoop(socket, limits, owner);
    this.#sendBuffer = new SendBuffer(socket, 2 * limits.outgoing + limits.packet, () =>
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
    return this.#receiveLoop.sawDisconnect;
  }

  /** Bytes that the client has not read yet. */
  get writableLength(): number {
    return this.#sendBuffer.length;
  }

  /** For how many milliseconds the client has read nothing. */
  stalledFor(now: number): number {
    return this.#sendBuffer.stalledFor(now);
  }

  /** Gives the connection to aedes: CONNECT now, later packets after `connectFinished()`, except those of the fast path. */
  startEngine(attach: () => EngineInput, fastPath?: PublishFastPath): void {
    this.#receiveLoop.startEngine(attach(), fastPath);
  }

  /** aedes has processed CONNECT. Packets received meanwhile follow. */
  connectFinished(): void {
    this.#receiveLoop.connectFinished();
  }

  /** Replaces the owner. */
  setOwner(owner: ConnectionOwner): void {
    this.#owner = owner;
    this.#receiveLoop.setOwner(owner);
  }

  /** Nothing can be sent to the client any more. */
  get isGone(): boolean {
    return this.#isDestroyed || this.#receiveLoop.hasEnded;
  }

  /** Stops reading from the client; TCP flow control then stops it from sending. */
  pauseReading(why: PauseReason): void {
    this.#receiveLoop.pause(why);
  }

  resumeReading(why: PauseReason): void {
    this.#receiveLoop.resume(why);
  }

  /** Leaves the client's next PUBLISH unread (true), or reads on (false). */
  holdPublishes(isHeld: boolean): void {
    this.#receiveLoop.holdPublishes(isHeld);
  }

  /** The broker does not read, so keep-alive does not apply. */
  get isReadingPaused(): boolean {
    return this.#receiveLoop.isReadingPaused;
  }

  /** When reading was last resumed, by the monotonic clock; 0 if it was never paused. */
  get readingResumedAt(): number {
    return this.#receiveLoop.readingResumedAt;
  }

  /** Called when the fast path has room again, or is empty. */
  continueReading(): void {
    this.#receiveLoop.continueReading();
  }

  /** Sends PUBACK. */
  acknowledge(packetId: number): void {
    if (!this.#isDestroyed) this.#sendBuffer.acknowledge(packetId);
  }

  /** Closes at once: nothing more is read, processed or sent. */
  terminate(): void {
    this.#receiveLoop.clear();
    this.#sendBuffer.discard();
    this.#stop();
    this.#socket.destroy();
    this.#receiveLoop.closeEngine();
  }

  /** Sends what is waiting, `last` included, then closes. Nothing more is read. */
  end(last?: Buffer): void {
    if (this.#isDestroyed) return;
    if (last !== undefined) this.write(last);
    this.#receiveLoop.clear();
    this.#sendBuffer.flush();
    this.#stop();
    if (last === undefined) this.#closeSocket();
    else this.#answerAndClose();
    this.#receiveLoop.closeEngine();
  }

  // The stream interface that aedes uses.

  get destroyed(): boolean {
    return this.#isDestroyed;
  }

  setMaxListeners(): this {
    return this;
  }

  on(event: string, listener: Listener): this {
    if (event === 'readable') this.#receiveLoop.whenReadable(listener);
    return this; // `end`, `close` and `error` reach aedes as close(), after it has read all earlier packets.
  }

  once(event: string, listener: Listener): this {
    return this.on(event, listener);
  }

  removeListener(): this {
    return this;
  }

  removeAllListeners(event: string): this {
    if (event === 'readable') this.#receiveLoop.whenReadable(undefined);
    return this;
  }

  emit(event: string): boolean {
    // The last call that aedes makes on a connection emits `drain`.
    if (event === 'drain') this.#owner.engineFinished();
    return true;
  }

  /** The next batch of packets that may be processed concurrently; null when there is none. */
  read(): Buffer | null {
    return this.#receiveLoop.nextBatch();
  }

  /** Always true: the limit `outgoing` handles a slow reader, and no other client waits for it. */
  write(data: Buffer | string): boolean {
    if (!this.#isDestroyed) this.#sendBuffer.write(data);
    return true;
  }

  destroy(error?: Error): this {
    if (this.#isDestroyed) return this;
    if (error instanceof Error) this.#owner.engineFailed(error);
    this.#sendBuffer.flush();
    this.#stop();
    this.#closeSocket();
    return this;
  }

  // Called by the socket listeners below.

  received(chunk: Buffer): void {
    try {
      this.#receiveLoop.received(chunk);
    } catch (error) {
      this.#owner.failed(error); // No input may end the process.
    }
  }

  drained(): void {
    this.#receiveLoop.updateReading();
  }

  closed(): void {
    this.#receiveLoop.end();
    this.#sendBuffer.discard();
    this.#owner.socketClosed();
    this.#receiveLoop.closeWhenRead();
  }

  #stop(): void {
    this.#isDestroyed = true;
    this.#receiveLoop.stop();
  }

  #closeSocket(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    // A client that sent DISCONNECT reads nothing more.
    if (this.#receiveLoop.sawDisconnect || socket.writableLength === 0) socket.destroy();
    else {
      socket.destroySoon();
      setTimeout(destroySocket, LINGER_MS, socket).unref();
    }
  }

  /** Closes after the client has closed: unread data would turn the close into a reset, and the client would miss the answer. */
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
