/** The client's address of the sockets of one server, where a proxy has stated it; that of the TCP connection otherwise. */

import type { Socket } from 'node:net';
import type { AcceptedClient } from './proxied-connections.ts';

export class ClientAddresses {
  readonly #stated = new WeakMap<Socket, string>();

  /** Those whose bytes come through a load balancer. */
  readonly #proxied = new WeakSet<Socket>();

  /** A socket over another one, such as that of TLS, is recorded on its own. */
  record(socket: Socket, { address, isProxied }: Pick<AcceptedClient, 'address' | 'isProxied'>): void {
    this.#stated.set(socket, address);
    if (isProxied) this.#proxied.add(socket);
  }

  /** `gone` for a connection that is closed and has no recorded address. */
  of(socket: Socket): string {
    return this.#stated.get(socket) ?? socket.remoteAddress ?? 'gone';
  }

  /** The peer of the TCP connection; undefined when that passes the bytes of others on, or was not recorded. */
  directPeer(socket: Socket): string | undefined {
    return this.#proxied.has(socket) ? undefined : this.#stated.get(socket);
  }
}
