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
  secured(): void {
    this.#door.secured(performance.now() - this.#acceptedAt);
  }

  /** Called instead of closing the socket when time is up. */
  onTimeout(timedOut: () => void): void {
    this.#timedOut = timedOut;
  }

  /** It became a session, or was refused. */
  settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#timedOut = undefined;
    clearTimeout(this.#timer);
    this.#door.settled(this);
  }

  /** The client went away before either. */
  left(): void {
    if (this.#isSettled) return;
    this.#door.abandoned();
    this.settle();
  }

  expire(): void {
    const timedOut = this.#timedOut;
    this.settle();
    if (timedOut !== undefined) timedOut();
    else {
      this.#door.slow(this);
      this.socket.destroy();
    }
  }
}

/** What a connection on its way tells the door. */
interface ConnectionSlotOwner {
  secured(milliseconds: number): void;
  settled(half: ConnectionSlot): void;
  abandoned(): void;
  slow(half: ConnectionSlot): void;
}

function expire(half: ConnectionSlot): void {
  half.expire();
}

const SLOT = Symbol('half-open');
type GuardedSocket = Socket & { [SLOT]?: ConnectionSlot | undefined };

export class ConnectionLimiter {
  readonly #options: ConnectionLimiterOptions;
  readonly #buckets: TokenBuckets;
  readonly #halfOpen = new Set<ConnectionSlot>();
  readonly #sockets = new Set<Socket>();
  readonly #perAddress = new Map<string, number>();
  #begun = 0;
  #finished = 0;
  #abandoned = 0;
  #milliseconds = 0;

  constructor(options: ConnectionLimiterOptions) {
    this.#options = options;
    const rate = options.limits.connectionsPerSecondPerAddress;
    this.#buckets = new TokenBuckets({ perSecond: rate, burst: rate * 2 });
  }

  /** The half-open connection behind a socket whose handshake is finished. */
  find(socket: TLSSocket): ConnectionSlot | undefined {
    // Node's TLS socket knows the one it was made from, which spares asking the kernel for the peer again.
    const { _parent } = socket as { _parent?: GuardedSocket };
    return _parent?.[SLOT] ?? this.#findByPeer(socket);
  }

  /** `handshakes_begun_total` is what was admitted; `handshake_seconds_total` counts from the accept, of those finished. */
  counters(): Readonly<Record<string, number>> {
    return {
      half_open: this.#halfOpen.size,
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
    if (limits.handshakes > 0 && this.#halfOpen.size >= limits.handshakes) {
      return this.#refuse(socket, 'too_many_handshakes', address);
    }
    if (limits.handshakesPerAddress > 0 && fromHere >= limits.handshakesPerAddress) {
      return this.#refuse(socket, 'too_many_handshakes', address);
    }
    if (this.#buckets.take(key, now()) > 0) return this.#refuse(socket, 'rate_limited', address);

    const half = new ConnectionSlot(socket, address, key, limits.connectTimeout, this.#keeper);
    this.#begun += 1;
    this.#halfOpen.add(half);
    (socket as GuardedSocket)[SLOT] = half;
    this.#perAddress.set(key, fromHere + 1);
    this.#sockets.add(socket);
    socket.once('close', () => {
      half.left();
      this.#sockets.delete(socket);
    });
    return true;
  }

  readonly #keeper: ConnectionSlotOwner = {
    secured: (milliseconds) => {
      this.#finished += 1;
      this.#milliseconds += milliseconds;
    },
    settled: (half) => {
      this.#halfOpen.delete(half);
      (half.socket as GuardedSocket)[SLOT] = undefined;
      const left = (this.#perAddress.get(half.network) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(half.network, left);
      else this.#perAddress.delete(half.network);
    },
    abandoned: () => {
      this.#abandoned += 1;
    },
    slow: (half) => this.#options.refused('connect_timeout', half.address),
  };

  /** For a runtime whose TLS sockets don't say what they were made from. */
  #findByPeer({ remoteAddress, remotePort }: Socket): ConnectionSlot | undefined {
    for (const half of this.#halfOpen) {
      if (half.socket.remotePort === remotePort && half.socket.remoteAddress === remoteAddress) return half;
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
