/**
 * A TCP proxy for one device, so that its network alone can be cut. While it is cut, it forwards nothing and closes nothing;
 * connections of before are reset when it is restored. The proxy does not parse what it forwards.
 */

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { addressOptions } from '@rollcall/protocol';

interface Place {
  readonly host: string;
  readonly port: number;
}

export class DeviceProxy {
  readonly #target: () => Place;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  private constructor(target: () => Place) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (device) => this.#carry(device));
  }

  static async open(target: () => Place): Promise<DeviceProxy> {
    const line = new DeviceProxy(target);
    line.#server.listen(0, '127.0.0.1');
    await once(line.#server, 'listening');
    return line;
  }

  get port(): number {
    return (this.#server.address() as { readonly port: number }).port;
  }

  /** Forwards nothing more and closes nothing; accepts new connections without forwarding them. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.pause();
  }

  restore(): void {
    this.#isCut = false;
    this.reset();
  }

  /** Resets all open connections on both sides. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #carry(device: Socket): void {
    this.#hold(device);
    if (this.#isCut) {
      device.pause();
      return;
    }
    const target = this.#target();
    const broker = connect({ ...target, ...addressOptions(target.host), allowHalfOpen: true });
    this.#hold(broker);
    for (const [from, to] of [
      [device, broker],
      [broker, device],
    ] as const) {
      from.pipe(to);
      from.once('close', () => {
        if (!this.#isCut) to.destroy();
      });
    }
  }

  #hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {}); // 'close' follows
    socket.once('close', () => this.#sockets.delete(socket));
  }
}
