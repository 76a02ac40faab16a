/** A TCP load balancer on loopback: a connection goes to the ready server with the fewest. TLS passes through it untouched. */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface BalancedServer {
  readonly name: string;
  /** Of 127.0.0.1. */
  readonly port: number;
}

export class TcpBalancer {
  readonly port: number;
  readonly #server: Server;
  readonly #ready: () => readonly BalancedServer[];
  readonly #open = new Map<string, Set<Socket>>();

  static async listen(ready: () => readonly BalancedServer[]): Promise<TcpBalancer> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TcpBalancer(server, ready);
  }

  private constructor(server: Server, ready: () => readonly BalancedServer[]) {
    this.#server = server;
    this.#ready = ready;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (client) => this.#pass(client));
  }

  /** Connections that it passes to this server now. */
  connections(name: string): number {
    return this.#open.get(name)?.size ?? 0;
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const clients of this.#open.values()) for (const client of clients) client.destroy();
    await closed;
  }

  /** Nothing is read from the client before a server took its connection, so that another one can be tried. */
  #pass(client: Socket, tried: ReadonlySet<string> = new Set()): void {
    const candidates = this.#ready().filter(({ name }) => !tried.has(name));
    const [to] = candidates.toSorted((one, other) => this.connections(one.name) - this.connections(other.name));
    if (to === undefined || client.destroyed) return void client.destroy();
    const clients = this.#open.get(to.name) ?? new Set();
    this.#open.set(to.name, clients.add(client));
    let isConnected = false;
    const server = connect({ host: '127.0.0.1', port: to.port, allowHalfOpen: true });
    const leave = () => clients.delete(client);
    server.once('connect', () => {
      isConnected = true;
      client.pipe(server).pipe(client);
    });
    server.once('close', () => {
      leave();
      if (isConnected) client.destroy();
      else this.#pass(client, new Set([...tried, to.name]));
    });
    server.on('error', () => {});
    client.on('error', () => {});
    client.once('close', () => {
      leave();
      server.destroy();
    });
  }
}
