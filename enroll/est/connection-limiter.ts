/**
 * Stands between the TCP port and TLS: counts connections per address and in all, open and half open, and closes what
 * is over a limit before any cryptography. Also the one who ends handshakes that failed or took too long, because
 * Node's `handshakeTimeout` only reports them.
 */

import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { createRateLimit, networkOf, type RefusalLog } from '../../limits/index.ts';
import type { Counters } from '../counters.ts';
import type { EnrollLimits } from './limits.ts';

export interface ConnectionLimiter {
  /** Destroys what has not finished its handshake; the others belong to HTTP. */
  close(): void;
}

interface Handshake {
  readonly socket: Socket;
  readonly network: string;
  finished: boolean;
}

export function limitConnections(
  server: Server,
  options: {
    readonly limits: EnrollLimits;
    readonly monotonic: () => number;
    readonly random: () => number;
    readonly log: Logger;
    readonly refusalLog: RefusalLog;
    readonly counts: Counters;
  },
): ConnectionLimiter {
  const { limits, log, refusalLog, counts } = options;
  const rate = createRateLimit({
    ...options,
    perSecond: limits.connectionsPerSecond,
    perSecondPerAddress: limits.connectionsPerSecondPerAddress,
  });
  const open = new Counter(limits.openConnections, limits.openConnectionsPerAddress);
  const halfOpen = new Counter(limits.halfOpenConnections, limits.halfOpenConnectionsPerAddress);
  /** By address and port of the peer, which TLS sockets and the TCP sockets under them share. */
  const handshaking = new Map<string, Handshake>();

  const noteRefusal = (address: string, reason: string): void => {
    counts.add(`enroll_connections_refused_total/reason=${reason}`);
    refusalLog.write(log, 'warn', address, { address, reason }, 'connection refused before its handshake');
  };

  const finish = (key: string, handshake: Handshake): void => {
    if (!handshake.finished) halfOpen.remove(handshake.network);
    handshake.finished = true;
    // A new connection may have the same port before the old one is known to be gone.
    if (handshaking.get(key) === handshake) handshaking.delete(key);
  };

  const admit = (socket: Socket): boolean => {
    const address = socket.remoteAddress;
    if (address === undefined) return false; // gone already
    const network = networkOf(address);
    const reason = open.full(network)
      ? 'too many open'
      : halfOpen.full(network)
        ? 'too many handshakes'
        : rate.take(address) > 0
          ? 'too many per second'
          : undefined;
    if (reason !== undefined) {
      noteRefusal(address, reason);
      return false;
    }
    const key = peerKey(socket);
    const handshake: Handshake = { socket, network, finished: false };
    open.add(network);
    halfOpen.add(network);
    handshaking.set(key, handshake);
    socket.once('close', () => {
      open.remove(network);
      finish(key, handshake);
    });
    return true;
  };

  // TLS listens to the same event as we do; taking its place is the only way to be asked first.
  const startTls = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    if (!admit(socket)) {
      socket.destroy();
      return;
    }
    for (const start of startTls) start.call(server, socket);
  });
  server.on('secureConnection', (socket: TLSSocket) => {
    const key = peerKey(socket);
    const handshake = handshaking.get(key);
    if (handshake !== undefined) finish(key, handshake);
  });
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    const address = socket.remoteAddress ?? 'gone';
    refusalLog.write(log, 'debug', address, { address, code: error.code }, 'handshake failed');
    socket.destroy();
  });

  return {
    close: () => {
      for (const { socket } of handshaking.values()) socket.destroy();
    },
  };
}

function peerKey(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}

class Counter {
  readonly #max: number;
  readonly #maxPerNetwork: number;
  readonly #counts = new Map<string, number>();
  #total = 0;

  constructor(max: number, maxPerNetwork: number) {
    this.#max = max || Number.POSITIVE_INFINITY;
    this.#maxPerNetwork = maxPerNetwork || Number.POSITIVE_INFINITY;
  }

  full(network: string): boolean {
    return this.#total >= this.#max || (this.#counts.get(network) ?? 0) >= this.#maxPerNetwork;
  }

  add(network: string): void {
    this.#total += 1;
    this.#counts.set(network, (this.#counts.get(network) ?? 0) + 1);
  }

  remove(network: string): void {
    const left = (this.#counts.get(network) ?? 1) - 1;
    this.#total -= 1;
    if (left === 0) this.#counts.delete(network);
    else this.#counts.set(network, left);
  }
}
