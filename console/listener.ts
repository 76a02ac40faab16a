/** One listener of the console: limits per connection, and a close that ends within two seconds. Knows no route. */

import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { RefusalLog } from '../limits/index.ts';
/** For the constructors of `node:http` and `node:https`, in milliseconds. */
export const HTTP_LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 5_000,
  keepAliveTimeout: 5_000,
} as const;

const IDLE_TIMEOUT_MS = 120_000;
const MAX_CONNECTIONS = 512; // twice as many as followers: operators are few
const CLOSE_GRACE_MS = 2_000;

export class Listener<S extends Server = Server> {
  readonly server: S;
  readonly #log: Logger;
  /** Includes sockets without a completed handshake, which `closeAllConnections` does not close. */
  readonly #sockets = new Set<Socket>();

  constructor(server: S, log: Logger, refusalLog: RefusalLog) {
    this.server = server;
    this.#log = log;
    server.maxConnections = MAX_CONNECTIONS;
    server.setTimeout(IDLE_TIMEOUT_MS);
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      const source = (socket as Socket).remoteAddress ?? 'unix';
      refusalLog.write(log, 'debug', source, { reason: error.code }, 'malformed operator request');
      if (socket.writable) socket.end(refusalOf(error));
      else socket.destroy();
    });
  }

  /** `listen` resolves when the server listens, or throws. */
  async open(listen: (server: S) => Promise<void>): Promise<void> {
    await listen(this.server);
    this.server.on('error', (error) => this.#log.error({ err: error }, 'listener failed'));
  }

  /** Running requests have two seconds to finish. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      const grace = setTimeout(() => {
        for (const socket of this.#sockets) socket.destroy();
      }, CLOSE_GRACE_MS);
      this.server.close(() => {
        clearTimeout(grace);
        resolve();
      });
      this.server.closeIdleConnections();
    });
  }
}

/**
 * A browser opens connections before it needs them. On one that timed out without a request it repeats the request elsewhere
 * after 408 (RFC 9110, section 15.5.9); 400 would be its answer.
 */
function refusalOf({ code }: NodeJS.ErrnoException): string {
  const status = code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
  return `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
}

/** Problem `address_in_use`, or `config_invalid` when the address is not of this machine or not allowed. */
export function listenOnTcp(server: Server, host: string, port: number, name = 'console'): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const reason = `${name} on ${host} port ${port}: ${error.code}`;
      const hint = 'expected an address of this machine and a free port';
      reject(new Problem(error.code === 'EADDRINUSE' ? 'address_in_use' : 'config_invalid', { reason, hint }));
    };
    server.once('error', fail);
    server.listen({ host, port }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}
