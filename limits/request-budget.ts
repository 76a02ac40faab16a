/**
 * Limits HTTP requests per client network before a request is parsed further; a request costs the same whether it succeeds
 * or fails. All HTTP servers of a fleet share one budget. A connection that exceeds it, or that has too many pending
 * responses, gets one refusal and is closed. Knows no path, no credential and no response format.
 */

import type { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { ClientAddresses } from './client-addresses.ts';
import { networkOf } from './client-network.ts';
import { type LoadTestExemptions, LoadTestRate } from './load-test-exemptions.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface RequestBudgetOptions {
  /** Requests per second and network, on all servers together; 0: no limit. */
  readonly perSecondPerAddress: number;
  /** Milliseconds that only go forward. */
  readonly monotonic: () => number;
  /** 0 up to 1; spreads the retries of clients that were refused together. */
  readonly random: () => number;
  readonly loadTests?: Pick<LoadTestExemptions, 'find'>;
}

export interface RequestHandlers {
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
  /** Sends a 429 response. `retryAfter` is in seconds, at least 1. The connection closes after it. */
  readonly refuse: (response: ServerResponse, retryAfter: number, address: string) => void;
  /** Where proxies state the addresses of clients. */
  readonly addresses?: ClientAddresses;
}

/** The burst, in seconds of the rate. */
const BURST_SECONDS = 2;
/** Pending responses of one connection. Rollcall's own clients send no second request before the first response. */
const PIPELINED_MAX = 16;
/** The key of all clients of a Unix socket, which have no address. */
const LOCAL = 'local';

interface Connection {
  pending: number;
  /** `refused`: requests that were read together with the refused one are ignored. `closing`: a further request destroys the socket. */
  state: 'open' | 'refused' | 'closing';
}

export class RequestBudget {
  readonly #buckets: TokenBuckets;
  readonly #monotonic: () => number;
  readonly #random: () => number;
  readonly #loadTests: Pick<LoadTestExemptions, 'find'> | undefined;
  readonly #loadTestRate = new LoadTestRate(0);
  readonly #connections = new WeakMap<Socket, Connection>();

  constructor({ perSecondPerAddress, monotonic, random, loadTests }: RequestBudgetOptions) {
    this.#buckets = new TokenBuckets({ perSecond: perSecondPerAddress, burst: perSecondPerAddress * BURST_SECONDS });
    this.#monotonic = monotonic;
    this.#random = random;
    this.#loadTests = loadTests;
  }

  /** Takes effect at once. */
  setRate(perSecondPerAddress: number): void {
    this.#buckets.setRate({ perSecond: perSecondPerAddress, burst: perSecondPerAddress * BURST_SECONDS });
  }

  /** Adds `handlers` to the server for all requests, those with an Expect header included. */
  attach<S extends EventEmitter>(server: S, handlers: RequestHandlers): S {
    const receive = (request: IncomingMessage, response: ServerResponse) => this.#receive(request, response, handlers);
    // Without a listener, Node responds to an unknown expectation itself, outside the budget.
    server.on('request', receive);
    server.on('checkExpectation', receive);
    return server;
  }

  #receive(request: IncomingMessage, response: ServerResponse, { handle, refuse, addresses }: RequestHandlers): void {
    const { socket } = request;
    if (socket.destroyed) return;
    const connection = this.#connectionOf(socket);
    if (connection.state !== 'open') {
      if (connection.state === 'closing') socket.destroy();
      return;
    }
    const address = addresses === undefined ? (socket.remoteAddress ?? LOCAL) : addresses.of(socket);
    const wait = this.#take(address);
    if (wait > 0 || connection.pending >= PIPELINED_MAX) {
      connection.state = 'refused';
      setImmediate(() => {
        connection.state = 'closing';
      });
      response.shouldKeepAlive = false;
      refuse(response, Math.ceil(Math.max(wait, 0.001) + this.#random() * 2), address);
      return;
    }
    connection.pending += 1;
    response.once('close', () => {
      connection.pending -= 1;
    });
    handle(request, response);
  }

  #take(address: string): number {
    const now = this.#monotonic();
    const loadTest = this.#loadTests?.find(address);
    return loadTest === undefined
      ? this.#buckets.take(networkOf(address), now)
      : this.#loadTestRate.take(loadTest, now);
  }

  #connectionOf(socket: Socket): Connection {
    let connection = this.#connections.get(socket);
    if (connection === undefined) {
      connection = { pending: 0, state: 'open' };
      this.#connections.set(socket, connection);
    }
    return connection;
  }
}
