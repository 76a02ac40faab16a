/** The client's address of the sockets of one server, where a proxy has stated it; that of the TCP connection otherwise. */

import type { Socket } from 'node:net';

export class ClientAddresses {
  readonly #stated = new WeakMap<Socket, string>();

  /** A socket over another one, such as that of TLS, is recorded on its own. */
  record(socket: Socket, address: string): void {
    this.#stated.set(socket, address);
  }

  /** `gone` for a connection that is closed and has no recorded address. */
  of(socket: Socket): string {
    return this.#stated.get(socket) ?? socket.remoteAddress ?? 'gone';
  }
}
