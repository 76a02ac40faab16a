/**
 * Finds the client's address of each accepted TCP connection, before its TLS handshake. A connection from a trusted network has
 * to begin with a header of the PROXY protocol; on any other connection no header is read, so TLS refuses one as garbage. Connections that
 * wait for their header are limited in number, and each closes at the deadline that it shares with the TLS handshake.
 */

import type { Socket } from 'node:net';
import { AddressNetworks } from './address-networks.ts';
import { canonicalAddress } from './client-network.ts';
import { type ProxyHeader, parseProxyHeader } from './proxy-header.ts';

export type ProxyRefusal =
  | 'proxy_header_missing'
  | 'proxy_header_invalid'
  | 'proxy_header_late'
  | 'too_many_without_header';

export interface ProxiedConnectionsOptions {
  /** Networks whose connections begin with a header. None: no connection does. */
  readonly from: readonly string[];
  /** Milliseconds from accept to the end of the header. */
  readonly timeoutMs: number;
  /** Connections that may wait for their header at one time. */
  readonly waitingMax?: number;
  /** Called with the proxy's own address. The connection is closed. */
  readonly refused: (reason: ProxyRefusal, address: string, detail?: string) => void;
}

export interface AcceptedClient {
  /** Canonical. */
  readonly address: string;
  /** Milliseconds that the connection has waited for its header. */
  readonly waitedMs: number;
  /** A load balancer's header came first: the bytes may be those of any client. */
  readonly isProxied: boolean;
}

/** As many as have an unfinished handshake by default: a header takes one round trip of a near network. */
const WAITING_MAX = 1_000;

export class ProxiedConnections {
  readonly #options: ProxiedConnectionsOptions;
  readonly #trusted: AddressNetworks;
  readonly #waiting = new Set<Socket>();

  constructor(options: ProxiedConnectionsOptions) {
    this.#options = options;
    this.#trusted = new AddressNetworks(options.from);
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Calls `accepted` with the client's address: at once, or when the header is there. What follows the header is in the
   * socket's buffer then, from which `tls.Server` reads it when it gets the socket by the event `connection`.
   */
  accept(socket: Socket, accepted: (client: AcceptedClient) => void): void {
    if (socket.remoteAddress === undefined) {
      socket.destroy(); // The client has closed it already.
      return;
    }
    const address = canonicalAddress(socket.remoteAddress);
    if (this.#trusted.isEmpty || !this.#trusted.includes(address)) accepted({ address, waitedMs: 0, isProxied: false });
    else this.#readHeader(socket, address, accepted);
  }

  /** Destroys the connections that wait for their header. */
  close(): void {
    for (const socket of this.#waiting) socket.destroy();
  }

  #readHeader(socket: Socket, proxy: string, accepted: (client: AcceptedClient) => void): void {
    const { timeoutMs, waitingMax = WAITING_MAX, refused } = this.#options;
    const acceptedAt = performance.now();
    const refuse = (reason: ProxyRefusal, detail?: string) => {
      finish();
      socket.on('error', ignore);
      socket.resetAndDestroy();
      refused(reason, proxy, detail);
    };
    const timer = setTimeout(() => refuse('proxy_header_late'), timeoutMs);
    const header = new HeaderReader(socket);
    const read = () => {
      const found = header.read();
      if (found.state === 'missing') refuse('proxy_header_missing');
      if (found.state === 'invalid') refuse('proxy_header_invalid', found.reason);
      if (found.state !== 'complete') return;
      finish();
      header.putBack(found.length);
      accepted({ address: found.source ?? proxy, waitedMs: performance.now() - acceptedAt, isProxied: true });
    };
    const finish = () => {
      clearTimeout(timer);
      this.#waiting.delete(socket);
      socket.removeListener('readable', read);
      socket.removeListener('close', finish);
      socket.removeListener('error', ignore);
    };
    // A health check that connects and closes ends here, and is no refusal.
    socket.once('close', finish);
    socket.on('error', ignore); // 'close' follows.
    if (this.#waiting.size >= waitingMax) {
      refuse('too_many_without_header');
      return;
    }
    this.#waiting.add(socket);
    socket.on('readable', read);
  }
}

/** Reads from a paused socket until the header is complete. */
class HeaderReader {
  readonly #socket: Socket;
  #received = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  read(): ProxyHeader {
    let header: ProxyHeader = { state: 'incomplete' };
    while (header.state === 'incomplete') {
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk === null) break;
      this.#received = Buffer.concat([this.#received, chunk]);
      header = parseProxyHeader(this.#received);
    }
    return header;
  }

  /** Returns what follows the header to the socket's buffer. */
  putBack(headerLength: number): void {
    const rest = this.#received.subarray(headerLength);
    if (rest.length > 0) this.#socket.unshift(rest);
  }
}

function ignore(): void {}
