/**
 * HTTP servers for both runtimes. On Node they are those of node:http and node:https. On Bun a server is `SocketHttpServer`:
 * Bun's own HTTPS server shows no client certificate, runs no code before TLS, and has no timeouts.
 */

import { createServer as createHttp, type Server, type ServerOptions } from 'node:http';
import { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import { SocketHttpServer } from './socket-http-server.ts';

export interface HttpServerOptions extends ServerOptions {
  /** HTTPS. */
  readonly tls?: TlsOptions;
  readonly admit?: Admission;
}

/** Decides on each TCP connection before TLS: calls `admitted`, at once or later, or destroys the socket. */
export type Admission = (socket: Socket, admitted: () => void) => void;

/** With `tls` it also emits `secureConnection` and `tlsClientError`. */
export interface HttpServer extends Server {
  /** Applies to new handshakes. Without `tls` it does nothing. */
  setSecureContext(options: SecureContextOptions): void;
}

export function createHttpServer({ tls, admit, ...options }: HttpServerOptions): HttpServer {
  if (process.versions.bun !== undefined) return new SocketHttpServer(options, { tls, admit });
  if (tls === undefined) return Object.assign(createHttp(options), { setSecureContext: () => {} });
  return new AdmittingServer({ ...options, ...tls }, admit);
}

class AdmittingServer extends HttpsServer {
  readonly #admit: Admission | undefined;

  constructor(options: ServerOptions & TlsOptions, admit: Admission | undefined) {
    super(options);
    this.#admit = admit;
  }

  /** A listener of `connection` could not keep TLS, which listens too, from the socket. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event !== 'connection' || this.#admit === undefined) return super.emit(event as string, ...args);
    const socket = args[0] as Socket;
    this.#admit(socket, () => super.emit('connection', socket));
    return true;
  }
}
