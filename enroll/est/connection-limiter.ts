/**
 * Limits TCP connections before their TLS handshake: per second, open, and with an unfinished handshake, each in total and
 * per client network. A refused connection costs no cryptography. Closes handshakes that failed or took too long, because
 * Node's `handshakeTimeout` only reports them.
 */

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import {
  type AcceptedClient,
  type ClientAddresses,
  createRateLimit,
  type LoadTest,
  type LoadTestExemptions,
  networkOf,
  type ProxyRefusal,
  type RateLimit,
  type Rates,
  type RefusalLog,
} from '../../limits/index.ts';
import type { Counters } from '../counters.ts';
import type { EnrollLimits } from './limits.ts';

export interface ConnectionLimiterOptions {
  readonly limits: EnrollLimits;
  /** Gets the client's address of each TLS socket. */
  readonly addresses: ClientAddresses;
  /** Milliseconds from accept to a finished handshake. */
  readonly timeoutMs: number;
  /** Milliseconds that only go forward. */
  readonly monotonic: () => number;
  readonly random: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
  /** Exempt addresses have half of the connections of all, in place of the limits per address. */
  readonly loadTests: Pick<LoadTestExemptions, 'find'>;
  readonly counters: Counters;
}

type Refusal = 'too many open' | 'too many handshakes' | 'too many per second';

interface Handshake {
  readonly socket: Socket;
  readonly client: AcceptedClient;
  readonly network: string;
  readonly isExempt: boolean;
  /** After a proxy's header, where Node's `handshakeTimeout` begins anew. */
  readonly deadline: NodeJS.Timeout | undefined;
  isFinished: boolean;
}

export class ConnectionLimiter {
  readonly #options: ConnectionLimiterOptions;
  readonly #rate: RateLimit;
  readonly #open: ConnectionCounter;
  readonly #halfOpen: ConnectionCounter;
  /** By address and port of the peer, which a TLS socket and the TCP socket under it share. */
  readonly #handshakes = new Map<string, Handshake>();

  constructor(options: ConnectionLimiterOptions) {
    const { limits } = options;
    this.#options = options;
    this.#rate = createRateLimit({
      ...options,
      perSecond: limits.connectionsPerSecond,
      perSecondPerAddress: limits.connectionsPerSecondPerAddress,
    });
    this.#open = new ConnectionCounter(limits.openConnections, limits.openConnectionsPerAddress);
    this.#halfOpen = new ConnectionCounter(limits.halfOpenConnections, limits.halfOpenConnectionsPerAddress);
  }

  setRates(rates: Rates): void {
    this.#rate.setRates(rates);
  }

  /** Counts the connection until it closes. False when it has to be closed: it is over a limit. */
  admit(socket: Socket, client: AcceptedClient): boolean {
    const { address, waitedMs } = client;
    const network = networkOf(address);
    const loadTest = this.#options.loadTests.find(address);
    const isExempt = loadTest !== undefined;
    const refusal = this.#refusalOf(address, network, loadTest);
    if (refusal !== undefined) {
      this.#report(address, refusal);
      return false;
    }
    const left = Math.max(0, this.#options.timeoutMs - waitedMs);
    const deadline = waitedMs === 0 ? undefined : setTimeout(() => socket.destroy(), left);
    const handshake: Handshake = { socket, client, network, isExempt, deadline, isFinished: false };
    const key = peerKey(socket);
    this.#open.add(network, isExempt);
    this.#halfOpen.add(network, isExempt);
    this.#handshakes.set(key, handshake);
    socket.once('close', () => {
      this.#open.remove(network, isExempt);
      this.#finish(key, handshake);
    });
    return true;
  }

  handshakeFinished(socket: TLSSocket): void {
    const key = peerKey(socket);
    const handshake = this.#handshakes.get(key);
    if (handshake === undefined) return;
    this.#options.addresses.record(socket, handshake.client);
    this.#finish(key, handshake);
  }

  handshakeFailed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    const { log, refusalLog } = this.#options;
    const address = this.#handshakes.get(peerKey(socket))?.client.address ?? 'gone';
    refusalLog.write(log, 'debug', address, { address, code: error.code }, 'handshake failed');
    socket.destroy();
  }

  /** A proxy's connection ended before it had a client. */
  refused(reason: ProxyRefusal, address: string, detail: string | undefined): void {
    this.#report(address, reason, detail);
  }

  /** Destroys the connections whose handshake is not finished. HTTP closes the others. */
  closeHandshakes(): void {
    for (const { socket } of this.#handshakes.values()) socket.destroy();
  }

  #refusalOf(address: string, network: string, loadTest: LoadTest | undefined): Refusal | undefined {
    const isExempt = loadTest !== undefined;
    if (this.#open.isFull(network, isExempt)) return 'too many open';
    if (this.#halfOpen.isFull(network, isExempt)) return 'too many handshakes';
    return this.#rate.take(address, loadTest) > 0 ? 'too many per second' : undefined;
  }

  #report(address: string, reason: Refusal | ProxyRefusal, detail?: string): void {
    const { log, refusalLog, counters } = this.#options;
    counters.add(`enroll_connections_refused_total/reason=${reason}`);
    refusalLog.write(log, 'warn', address, { address, reason, detail }, 'connection refused before its handshake');
  }

  #finish(key: string, handshake: Handshake): void {
    clearTimeout(handshake.deadline);
    if (!handshake.isFinished) this.#halfOpen.remove(handshake.network, handshake.isExempt);
    handshake.isFinished = true;
    // A new connection may have the same port before the old one is known to be closed.
    if (this.#handshakes.get(key) === handshake) this.#handshakes.delete(key);
  }
}

function peerKey(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}

/** Connections in total and per client network; a limit of 0 is none. */
class ConnectionCounter {
  readonly #max: number;
  readonly #maxPerNetwork: number;
  readonly #counts = new Map<string, number>();
  #total = 0;
  /** Of load tests; not counted per network. */
  #exempt = 0;

  constructor(max: number, maxPerNetwork: number) {
    this.#max = max || Number.POSITIVE_INFINITY;
    this.#maxPerNetwork = maxPerNetwork || Number.POSITIVE_INFINITY;
  }

  isFull(network: string, isExempt: boolean): boolean {
    if (this.#total >= this.#max) return true;
    if (isExempt) return this.#exempt >= this.#max / 2;
    return (this.#counts.get(network) ?? 0) >= this.#maxPerNetwork;
  }

  add(network: string, isExempt: boolean): void {
    this.#total += 1;
    if (isExempt) this.#exempt += 1;
    else this.#counts.set(network, (this.#counts.get(network) ?? 0) + 1);
  }

  remove(network: string, isExempt: boolean): void {
    this.#total -= 1;
    if (isExempt) {
      this.#exempt -= 1;
      return;
    }
    const left = (this.#counts.get(network) ?? 1) - 1;
    if (left === 0) this.#counts.delete(network);
    else this.#counts.set(network, left);
  }
}
