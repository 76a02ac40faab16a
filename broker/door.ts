/**
 * Counts and slows connections before any cryptography: a rate per address, and how many may be unfinished at once, in
 * total and per address. A connection that has not finished CONNECT in time is closed here.
 */

import type { Socket } from 'node:net';
import type { Server, TLSSocket } from 'node:tls';
import { networkOf } from '../throttle/network.ts';
import { TokenBuckets } from '../throttle/token-buckets.ts';
import type { ConnectFailure } from './events.ts';
import type { BrokerLimits } from './limits.ts';

export interface DoorOptions {
  readonly limits: BrokerLimits;
  readonly now: () => number;
  readonly refused: (reason: ConnectFailure, address: string) => void;
}

/** A connection on its way to a session. */
export class HalfOpen {
  readonly address: string;
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;
  readonly #settled: () => void;
  readonly #slow: (half: HalfOpen) => void;
  #isSettled = false;
  #timedOut: (() => void) | undefined;

  constructor(socket: Socket, address: string, timeout: number, settled: () => void, slow: (half: HalfOpen) => void) {
    this.#socket = socket;
    this.address = address;
    this.#settled = settled;
    this.#slow = slow;
    this.#timer = setTimeout(expire, timeout, this);
  }

  /** Called instead of closing the socket when time is up. */
  onTimeout(timedOut: () => void): void {
    this.#timedOut = timedOut;
  }

  /** It became a session, or went away. */
  settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#timedOut = undefined;
    clearTimeout(this.#timer);
    this.#settled();
  }

  expire(): void {
    const timedOut = this.#timedOut;
    this.settle();
    if (timedOut !== undefined) timedOut();
    else {
      this.#slow(this);
      this.#socket.destroy();
    }
  }
}

function expire(half: HalfOpen): void {
  half.expire();
}

const HALF_OPEN = Symbol('half-open');
type GuardedSocket = Socket & { [HALF_OPEN]?: HalfOpen | undefined };

export class Door {
  readonly #options: DoorOptions;
  readonly #buckets: TokenBuckets;
  /** By remote address and port. */
  readonly #halfOpen = new Map<string, HalfOpen>();
  readonly #sockets = new Set<Socket>();
  readonly #perAddress = new Map<string, number>();

  constructor(options: DoorOptions) {
    this.#options = options;
    const rate = options.limits.connectionsPerSecondPerAddress;
    this.#buckets = new TokenBuckets({ perSecond: rate, burst: rate * 2 });
  }

  /** Stands between the server's accept and its TLS. */
  guard(server: Server): void {
    const listeners = server.listeners('connection') as ((socket: Socket) => void)[];
    if (listeners.length === 0) return; // a runtime that accepts without telling
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => {
      if (!this.#admit(socket)) return;
      for (const listener of listeners) listener.call(server, socket);
    });
  }

  /** The half-open connection behind a socket whose handshake is finished. */
  find(socket: TLSSocket): HalfOpen | undefined {
    // Node's TLS socket knows the one it was made from, which spares asking the kernel for the peer again.
    const { _parent } = socket as { _parent?: GuardedSocket };
    return _parent?.[HALF_OPEN] ?? this.#halfOpen.get(endpoint(socket));
  }

  get halfOpen(): number {
    return this.#halfOpen.size;
  }

  /** Destroys every connection that is left. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #admit(socket: Socket): boolean {
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

    const place = endpoint(socket);
    const settled = () => {
      if (this.#halfOpen.get(place) === half) this.#halfOpen.delete(place);
      (socket as GuardedSocket)[HALF_OPEN] = undefined;
      const left = (this.#perAddress.get(key) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(key, left);
      else this.#perAddress.delete(key);
    };
    const half = new HalfOpen(socket, address, limits.connectTimeout, settled, this.#slow);
    this.#halfOpen.set(place, half);
    (socket as GuardedSocket)[HALF_OPEN] = half;
    this.#perAddress.set(key, fromHere + 1);
    this.#sockets.add(socket);
    socket.once('close', () => {
      half.settle();
      this.#sockets.delete(socket);
    });
    return true;
  }

  readonly #slow = (half: HalfOpen): void => this.#options.refused('connect_timeout', half.address);

  #refuse(socket: Socket, reason: ConnectFailure, address: string): false {
    socket.on('error', () => {});
    socket.resetAndDestroy(); // no TIME_WAIT for those we do not want
    this.#options.refused(reason, address);
    return false;
  }
}

function endpoint(socket: Socket): string {
  return `${socket.remotePort}|${socket.remoteAddress}`;
}
