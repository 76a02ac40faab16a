/**
 * One client's byte stream: received bytes go through `ReceiveLoop` to the owner of the connection, sent bytes through `SendBuffer`.
 * The owner is first the pending connection, then the session. Knows no identity, no topic rights and no meaning of a packet.
 */

import type { ByteStream } from './byte-stream.ts';
import type { PacketLimits } from './codec/packet-limits.ts';
import type { ProtocolVersion } from './packets.ts';
import { PauseReason, ReceiveLoop, type ReceiveOwner } from './receive-loop.ts';
import { SendBuffer } from './send-buffer.ts';

export interface ConnectionLimits extends PacketLimits {
  /** Approximate bytes that a client may leave unread. */
  readonly outgoing: number;
}

/** Decides about a connection: first the pending connection, then the session. Called synchronously. */
export interface ConnectionOwner extends ReceiveOwner {
  /** More bytes wait to be sent than the client may leave unread. */
  sendBufferOverflowed(): void;
  /** The socket is closed. `readToEnd` follows when everything that was received before is processed. */
  socketClosed(): void;
}

const CONNECTION = Symbol('connection');
type ConnectionSocket = ByteStream & { [CONNECTION]: MqttConnection };

/** How long a client may take to read the last bytes before its socket is destroyed, in ms. */
const LINGER_MS = 2_000;

export class MqttConnection {
  readonly #socket: ByteStream;
  readonly #receiveLoop: ReceiveLoop;
  readonly #sendBuffer: SendBuffer;
  #owner: ConnectionOwner;
  #isClosed = false;

  constructor(socket: ByteStream, limits: ConnectionLimits, owner: ConnectionOwner) {
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

  /** The MQTT version that CONNECT states; undefined before it, and for one that the broker does not speak. */
  get version(): ProtocolVersion | undefined {
    return this.#receiveLoop.version;
  }

  /** Bytes that the client has not read yet. */
  get writableLength(): number {
    return this.#sendBuffer.length;
  }

  /** For how many milliseconds the client has read nothing. */
  stalledFor(now: number): number {
    return this.#sendBuffer.stalledFor(now);
  }

  /** Replaces the owner. */
  setOwner(owner: ConnectionOwner): void {
    this.#owner = owner;
    this.#receiveLoop.setOwner(owner);
  }

  /** Nothing can be sent to the client any more. */
  get isGone(): boolean {
    return this.#isClosed || this.#receiveLoop.hasEnded;
  }

  /** Stops reading from the client; TCP flow control then stops it from sending. */
  pauseReading(why: PauseReason): void {
    this.#receiveLoop.pause(why);
  }

  resumeReading(why: PauseReason): void {
    this.#receiveLoop.resume(why);
  }

  /** Reads and sends nothing until `resume()`: what was received before is processed, and its answers wait. */
  suspend(): void {
    this.pauseReading(PauseReason.deaf);
    this.#sendBuffer.hold();
  }

  resume(): void {
    this.#sendBuffer.release();
    this.resumeReading(PauseReason.deaf);
  }

  isPausedFor(why: PauseReason): boolean {
    return this.#receiveLoop.isPausedFor(why);
  }

  /** The broker does not read, so keep-alive does not apply. */
  get isReadingPaused(): boolean {
    return this.#receiveLoop.isReadingPaused;
  }

  /** When reading was last resumed, by the monotonic clock; 0 if it was never paused. */
  get readingResumedAt(): number {
    return this.#receiveLoop.readingResumedAt;
  }

  /** Called when the owner may accept packets again. */
  continueReading(): void {
    this.#receiveLoop.continueReading();
    this.#receiveLoop.updateReading();
  }

  /** Sends a PUBACK of reason 0: it has the same four bytes in both versions. */
  acknowledge(packetId: number): void {
    if (!this.#isClosed) this.#sendBuffer.acknowledge(packetId);
  }

  /** Sends a packet. Does not wait: the limit `outgoing` handles a slow reader, and no other client waits for it. */
  send(packet: Buffer): void {
    if (!this.#isClosed) this.#sendBuffer.write(packet);
  }

  /** Closes at once: nothing more is read, processed or sent, except `last`. */
  terminate(last?: Buffer): void {
    if (this.#isClosed) return;
    this.#close();
    this.#sendBuffer.discard();
    if (last === undefined || this.#socket.destroyed) this.#socket.destroy();
    else this.#sendLast(last);
  }

  /** Sends what is waiting, `last` included, then closes. Nothing more is read. */
  end(last?: Buffer): void {
    if (this.#isClosed) return;
    this.#close();
    this.#sendBuffer.flush();
    if (last !== undefined) this.#sendLast(last);
    else if (this.#socket.writableLength === 0) this.#socket.destroy();
    else {
      this.#socket.destroySoon();
      setTimeout(destroySocket, LINGER_MS, this.#socket).unref();
    }
  }

  /** Resolves when the socket is closed: the client has read the last packet, or did not in time. */
  whenClosed(): Promise<void> {
    const socket = this.#socket;
    if (socket.closed) return Promise.resolve();
    return new Promise((resolve) => socket.once('close', () => resolve()));
  }

  /** Drops what was received and not accepted yet, of a client that is gone. */
  dropUnread(): void {
    this.#receiveLoop.stop();
  }

  // Called by the socket listeners below.

  received(chunk: Buffer): void {
    this.#receiveLoop.received(chunk);
  }

  drained(): void {
    this.#receiveLoop.updateReading();
  }

  closed(): void {
    this.#sendBuffer.discard();
    this.#owner.socketClosed();
    this.#receiveLoop.end();
  }

  #close(): void {
    this.#isClosed = true;
    this.#receiveLoop.stop();
  }

  /** Closes after the client has closed: unread data would turn the close into a reset, and the client would miss the packet. */
  #sendLast(last: Buffer): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    socket.removeListener('data', onData);
    socket.resume();
    socket.end(last);
    setTimeout(destroySocket, LINGER_MS, socket).unref();
  }
}

function onData(this: ByteStream, chunk: Buffer): void {
  (this as ConnectionSocket)[CONNECTION].received(chunk);
}

function onDrain(this: ByteStream): void {
  (this as ConnectionSocket)[CONNECTION].drained();
}

function onClose(this: ByteStream): void {
  (this as ConnectionSocket)[CONNECTION].closed();
}

function ignore(): void {}

function destroySocket(socket: ByteStream): void {
  socket.destroy();
}
