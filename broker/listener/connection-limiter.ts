/**
 * Counts and slows connections before any cryptography: a rate per address, and how many may be unfinished at once, in
 * total and per address. A connection that has not finished CONNECT in time is closed here.
 */

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { networkOf, TokenBuckets } from '../../limits/index.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ConnectFailure } from '../events.ts';

export interface ConnectionLimiterOptions {
  readonly limits: BrokerLimits;
  readonly now: () => number;
  readonly refused: (reason: ConnectFailure, address: string) => void;
}

/** A connection on its way to a session. */
export class ConnectionSlot {
  readonly address: string;
  readonly network: string;
  readonly socket: Socket;
  readonly #door: ConnectionSlotOwner;
  readonly #acceptedAt = performance.now();
  readonly #timer: NodeJS.Timeout;
  #isSettled = false;
  #timedOut: (() => void) | undefined;

  constructor(socket: Socket, address: string, network: string, timeout: number, door: ConnectionSlotOwner) {
    this.socket = socket;
    this.address = address;
    this.network = network;
    this.#door = door;
    this.#timer = setTimeout(expire, timeout, this);
  }

  /** Its handshake is finished; CONNECT is to come. */
  handshakeFinished(): void {
    this.#door.handshakeFinished(performance.now() - this.#acceptedAt);
  }

  /** Called instead of closing the socket when time is up. */
  onTimeout(timedOut: () => void): void {
    this.#timedOut = timedOut;
  }

  /** It became a session, or was refused. */
  release(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#timedOut = undefined;
    clearTimeout(this.#timer);
    this.#door.released(this);
  }

  /** The client went away before either. */
  abandon(): void {
    if (this.#isSettled) return;
    this.#door.abandoned();
    this.release();
  }

  expire(): void {
    const timedOut = this.#timedOut;
    this.release();
    if (timedOut !== undefined) timedOut();
    else {
      this.#door.timedOut(this);
      this.socket.destroy();
    }
  }
}

/** What a connection on its way tells the door. */
interface ConnectionSlotOwner {
  handshakeFinished(milliseconds: number): void;
  released(slot: ConnectionSlot): void;
  abandoned(): void;
  timedOut(slot: ConnectionSlot): void;
}

function expire(slot: ConnectionSlot): void {
  slot.expire();
}

const SLOT = Symbol('slot');
type GuardedSocket = Socket & { [SLOT]?: ConnectionSlot | undefined };

export class ConnectionLimiter {
  readonly #options: ConnectionLimiterOptions;
  readonly #rate: TokenBuckets;
  readonly #slots = new Set<ConnectionSlot>();
  readonly #sockets = new Set<Socket>();
  readonly #perAddress = new Map<string, number>();
  #begun = 0;
  #finished = 0;
  #abandoned = 0;
  #milliseconds = 0;

  constructor(options: ConnectionLimiterOptions) {
    this.#options = options;
    const rate = options.limits.connectionsPerSecondPerAddress;
    this.#rate = new TokenBuckets({ perSecond: rate, burst: rate * 2 });
  }

  /** The slot of the connection beneath a TLS socket. */
  find(socket: TLSSocket): ConnectionSlot | undefined {
    // Node's TLS socket knows the one it was made from, which spares asking the kernel for the peer again.
    const { _parent } = socket as { _parent?: GuardedSocket };
    return _parent?.[SLOT] ?? this.#findByPeer(socket);
  }

  /** `handshakes_begun_total` is what was admitted; `handshake_seconds_total` counts from the accept, of those finished. */
  counters(): Readonly<Record<string, number>> {
    return {
      half_open: this.#slots.size,
      handshakes_begun_total: this.#begun,
      handshakes_finished_total: this.#finished,
      handshakes_abandoned_total: this.#abandoned,
      handshake_seconds_total: this.#milliseconds / 1_000,
    };
  }

  /** Destroys every connection that is left. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Asked about every connection that was accepted, before its TLS; false: it is refused and closed. */
  admit(socket: Socket): boolean {
    const { limits, now } = this.#options;
    // A listener on :: sees IPv4 peers as ::ffff:192.0.2.7.
    const address = socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '');
    if (address === undefined) {
      socket.destroy(); // it went away before we looked
      return false;
    }
    const key = networkOf(address);
    const fromHere = this.#perAddress.get(key) ?? 0;
    if (limits.handshakes > 0 && this.#slots.size >= limits.handshakes) {
      return this.#refuse(socket, 'too_many_handshakes', address);
    }
    if (limits.handshakesPerAddress > 0 && fromHere >= limits.handshakesPerAddress) {
      return this.#refuse(socket, 'too_many_handshakes', address);
    }
    if (this.#rate.take(key, now()) > 0) return this.#refuse(socket, 'rate_limited', address);

    const slot = new ConnectionSlot(socket, address, key, limits.connectTimeout, this.#keeper);
    this.#begun += 1;
    this.#slots.add(slot);
    (socket as GuardedSocket)[SLOT] = slot;
    this.#perAddress.set(key, fromHere + 1);
    this.#sockets.add(socket);
    socket.once('close', () => {
      slot.abandon();
      this.#sockets.delete(socket);
    });
    return true;
  }

  readonly #keeper: ConnectionSlotOwner = {
    handshakeFinished: (milliseconds) => {
      this.#finished += 1;
      this.#milliseconds += milliseconds;
    },
    released: (slot) => {
      this.#slots.delete(slot);
      (slot.socket as GuardedSocket)[SLOT] = undefined;
      const left = (this.#perAddress.get(slot.network) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(slot.network, left);
      else this.#perAddress.delete(slot.network);
    },
    abandoned: () => {
      this.#abandoned += 1;
    },
    timedOut: (slot) => this.#options.refused('connect_timeout', slot.address),
  };

  /** For a runtime whose TLS sockets don't say what they were made from. */
  #findByPeer({ remoteAddress, remotePort }: Socket): ConnectionSlot | undefined {
    for (const slot of this.#slots) {
      if (slot.socket.remotePort === remotePort && slot.socket.remoteAddress === remoteAddress) return slot;
    }
    return undefined;
  }

  #refuse(socket: Socket, reason: ConnectFailure, address: string): false {
    socket.on('error', () => {});
    socket.resetAndDestroy(); // no TIME_WAIT for those we do not want
    this.#options.refused(reason, address);
    return false;
  }
}
