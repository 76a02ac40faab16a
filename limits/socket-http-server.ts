/**
 * An HTTP or HTTPS server for Bun: TCP, limits and TLS by node:net and node:tls, requests parsed by node:http. It applies the
 * timeouts of `ServerOptions` itself, by one timer per connection, and destroys a connection that exceeds one. The timer
 * runs from accept to the end of the headers, from there to the end of the body, and between two requests.
 */

import { type IncomingMessage, Server, type ServerOptions, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcp, type Socket, type Server as TcpServer } from 'node:net';
import {
  createServer as createTls,
  type SecureContextOptions,
  type TlsOptions,
  type Server as TlsServer,
} from 'node:tls';
import type { Admission } from './http-server.ts';

export interface SocketHttpServerParts {
  readonly tls: TlsOptions | undefined;
  readonly admit: Admission | undefined;
}

interface Connection {
  readonly tcp: Socket;
  /** TLS is finished, or there is none. */
  isReady: boolean;
  /** Responses that are not sent yet. */
  pending: number;
  timer: NodeJS.Timeout | undefined;
}

export class SocketHttpServer extends Server {
  readonly #tcp: TcpServer;
  readonly #tls: TlsServer | undefined;
  readonly #timeouts: { readonly headers: number; readonly request: number; readonly keepAlive: number };
  readonly #connections = new Set<Connection>();
  /** Connections whose TLS handshake is not finished, by the address and port of the peer. */
  readonly #handshakes = new Map<string, Connection>();
  /** By the socket that the HTTP parser has. */
  readonly #bySocket = new WeakMap<Socket, Connection>();

  constructor(options: ServerOptions, { tls, admit }: SocketHttpServerParts) {
    super(options);
    const { headersTimeout: headers = 60_000, requestTimeout: request = 300_000, keepAliveTimeout = 5_000 } = options;
    this.#timeouts = { headers, request, keepAlive: keepAliveTimeout };
    this.#tls = tls && this.#createTls(tls);
    this.#tcp = createTcp({ noDelay: options.noDelay ?? true }, (socket) => {
      if (admit === undefined) this.#accept(socket);
      else admit(socket, () => this.#accept(socket));
    });
    this.#tcp.on('error', (error) => this.emit('error', error));
    this.prependListener('request', (request, response) => this.#requested(request, response));
    this.prependListener('checkExpectation', (request, response) => this.#requested(request, response));
  }

  setSecureContext(options: SecureContextOptions): void {
    this.#tls?.setSecureContext(options);
  }

  override listen(...args: unknown[]): this {
    if (this.maxConnections > 0) this.#tcp.maxConnections = this.maxConnections;
    this.#tcp.listen(...(args as []));
    return this;
  }

  override address(): AddressInfo | string | null {
    return this.#tcp.address();
  }

  /** How long a connection may be without traffic, for connections that follow. */
  override setTimeout(timeout?: unknown): this {
    if (typeof timeout === 'number') this.timeout = timeout;
    return this;
  }

  /** Accepts no more connections. `closed` is called when the last one is closed. */
  override close(closed?: (error?: Error) => void): this {
    this.#tcp.close(closed);
    for (const { tcp, isReady } of this.#connections) if (!isReady) tcp.destroy();
    return this;
  }

  override closeIdleConnections(): void {
    for (const { tcp, isReady, pending } of this.#connections) if (isReady && pending === 0) tcp.destroy();
  }

  override closeAllConnections(): void {
    for (const { tcp } of this.#connections) tcp.destroy();
  }

  #createTls(options: TlsOptions): TlsServer {
    const server = createTls(options);
    server.on('secureConnection', (socket) => {
      const connection = this.#handshakes.get(peerKey(socket));
      if (connection === undefined) {
        socket.destroy(); // It was closed meanwhile.
        return;
      }
      this.emit('secureConnection', socket);
      this.#ready(connection, socket);
    });
    server.on('tlsClientError', (error, socket) => {
      if (!this.emit('tlsClientError', error, socket)) socket.destroy();
    });
    return server;
  }

  #accept(tcp: Socket): void {
    const connection: Connection = { tcp, isReady: false, pending: 0, timer: undefined };
    const key = peerKey(tcp);
    this.#connections.add(connection);
    this.#expireAfter(connection, this.#timeouts.headers);
    tcp.once('close', () => {
      clearTimeout(connection.timer);
      this.#connections.delete(connection);
      if (this.#handshakes.get(key) === connection) this.#handshakes.delete(key);
    });
    tcp.on('error', () => {}); // 'close' follows.
    if (this.#tls === undefined) {
      this.#ready(connection, tcp);
      return;
    }
    this.#handshakes.set(key, connection);
    this.#tls.emit('connection', tcp);
  }

  /** Gives the socket to the HTTP parser, which listens to `connection`. */
  #ready(connection: Connection, socket: Socket): void {
    connection.isReady = true;
    this.#bySocket.set(socket, connection);
    if (this.timeout > 0) socket.setTimeout(this.timeout, () => connection.tcp.destroy());
    this.emit('connection', socket);
  }

  #requested(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#bySocket.get(request.socket);
    if (connection === undefined) return;
    connection.pending += 1;
    if (request.complete || !hasBody(request)) clearTimeout(connection.timer);
    else {
      this.#expireAfter(connection, this.#timeouts.request);
      request.once('end', () => clearTimeout(connection.timer));
    }
    let isSent = false;
    const sent = () => {
      if (isSent) return;
      isSent = true;
      connection.pending -= 1;
      if (connection.pending === 0) this.#expireAfter(connection, this.#timeouts.keepAlive);
    };
    response.once('finish', sent);
    response.once('close', sent);
  }

  #expireAfter(connection: Connection, timeout: number): void {
    clearTimeout(connection.timer);
    if (timeout > 0 && !connection.tcp.destroyed) {
      connection.timer = setTimeout(() => connection.tcp.destroy(), timeout);
    }
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  const { 'transfer-encoding': encoding, 'content-length': length = '0' } = headers;
  return encoding !== undefined || length !== '0';
}

/** A TLS socket and the TCP socket under it have the same. */
function peerKey(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}
