/**
 * Spends one token of the client's network for each HTTP request before anything else is done with it: routes, errors and
 * refusals cost the same. One budget serves all HTTP servers of a fleet. A connection that is over it, or that has too many
 * answers outstanding, gets one refusal and is closed. Knows no path, no credential and no format of answers.
 */

import type { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { networkOf } from './client-network.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface RequestBudgetOptions {
  /** Requests per second and network, on all servers together; 0: no limit. */
  readonly perSecondPerAddress: number;
  /** Milliseconds that only go forward. */
  readonly monotonic: () => number;
  /** 0 up to 1; spreads the tries of clients that were refused together. */
  readonly random: () => number;
}

export interface RequestHandlers {
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
  /** Answers with 429. `retryAfter` is in seconds, at least 1. The connection closes after this answer. */
  readonly refuse: (response: ServerResponse, retryAfter: number, address: string) => void;
}

/** So many seconds' worth may come at once. */
const BURST_SECONDS = 2;
/** Requests of one connection without an answer yet. No client of ours sends a second one before the first is answered. */
const PIPELINED_AT_MOST = 16;
/** The key of all clients of a unix socket: they have no address. */
const LOCAL = 'local';

interface Connection {
  outstanding: number;
  /** `refused`: what was read together with the refused request is ignored. `closing`: any further request cuts it off. */
  state: 'open' | 'refused' | 'closing';
}

export class RequestBudget {
  readonly #buckets: TokenBuckets;
  readonly #monotonic: () => number;
  readonly #random: () => number;
  readonly #connections = new WeakMap<Socket, Connection>();

  constructor({ perSecondPerAddress, monotonic, random }: RequestBudgetOptions) {
    this.#buckets = new TokenBuckets({ perSecond: perSecondPerAddress, burst: perSecondPerAddress * BURST_SECONDS });
    this.#monotonic = monotonic;
    this.#random = random;
  }

  /** Makes `handlers` the only listener for requests of this server, those that expect something included. */
  attach<S extends EventEmitter>(server: S, handlers: RequestHandlers): S {
    const receive = (request: IncomingMessage, response: ServerResponse) => this.#receive(request, response, handlers);
    // Node answers an unknown expectation by itself, and so without asking the budget, unless there is a listener.
    server.on('request', receive);
    server.on('checkExpectation', receive);
    return server;
  }

  #receive(request: IncomingMessage, response: ServerResponse, { handle, refuse }: RequestHandlers): void {
    const { socket } = request;
    if (socket.destroyed) return;
    const connection = this.#connectionOf(socket);
    if (connection.state !== 'open') {
      if (connection.state === 'closing') socket.destroy();
      return;
    }
    const address = socket.remoteAddress ?? LOCAL;
    const wait = this.#buckets.take(networkOf(address), this.#monotonic());
    if (wait > 0 || connection.outstanding >= PIPELINED_AT_MOST) {
      connection.state = 'refused';
      setImmediate(() => {
        connection.state = 'closing';
      });
      response.shouldKeepAlive = false;
      refuse(response, Math.ceil(Math.max(wait, 0.001) + this.#random() * 2), address);
      return;
    }
    connection.outstanding += 1;
    response.once('close', () => {
      connection.outstanding -= 1;
    });
    handle(request, response);
  }

  #connectionOf(socket: Socket): Connection {
    let connection = this.#connections.get(socket);
    if (connection === undefined) {
      connection = { outstanding: 0, state: 'open' };
      this.#connections.set(socket, connection);
    }
    return connection;
  }
}
