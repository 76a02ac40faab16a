/**
 * The place of one connection among those that have not completed CONNECT. It has one deadline for the TLS handshake and CONNECT
 * together, and is released once: when the connection became a session, was refused, or closed.
 */

import type { Socket } from 'node:net';

/** The limiter, as its slots see it. */
export interface ConnectionSlotOwner {
  handshakeFinished(milliseconds: number): void;
  released(slot: ConnectionSlot): void;
  abandoned(): void;
  timedOut(slot: ConnectionSlot): void;
}

export class ConnectionSlot {
  readonly address: string;
  readonly network: string;
  readonly #socket: Socket;
  /** Bytes before those of TLS: a proxy's header. */
  readonly #headerBytes: number;
  readonly #owner: ConnectionSlotOwner;
  readonly #acceptedAt = performance.now();
  readonly #timer: NodeJS.Timeout;
  #isReleased = false;
  #timedOut: (() => void) | undefined;

  /** `timeout`: milliseconds from now for the handshake and CONNECT. */
  constructor(socket: Socket, address: string, network: string, timeout: number, owner: ConnectionSlotOwner) {
    this.#socket = socket;
    this.#headerBytes = socket.bytesRead - socket.readableLength;
    this.address = address;
    this.network = network;
    this.#owner = owner;
    this.#timer = setTimeout(expire, timeout, this);
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  /** Whether the client began a TLS handshake; a health check of a load balancer does not. */
  get hasBegunTls(): boolean {
    return this.#socket.bytesRead > this.#headerBytes;
  }

  /** The TLS handshake is finished, and CONNECT is next. */
  handshakeFinished(): void {
    this.#owner.handshakeFinished(performance.now() - this.#acceptedAt);
  }

  /** Replaces what happens at the deadline; otherwise the socket is destroyed and the refusal reported. */
  onTimeout(timedOut: () => void): void {
    this.#timedOut = timedOut;
  }

  /** The connection became a session, or was refused. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#timedOut = undefined;
    clearTimeout(this.#timer);
    this.#owner.released(this);
  }

  /** The client closed the connection first. */
  abandon(): void {
    if (this.#isReleased) return;
    this.#owner.abandoned();
    this.release();
  }

  expire(): void {
    const timedOut = this.#timedOut;
    this.release();
    if (timedOut !== undefined) timedOut();
    else {
      this.#owner.timedOut(this);
      this.#socket.destroy();
    }
  }
}

function expire(slot: ConnectionSlot): void {
  slot.expire();
}
