/**
 * A TCP proxy between devices and a server that delays, stalls, throttles, stops forwarding and resets. TCP hides loss as
 * latency, so a lost chunk arrives one retransmission timeout later. The proxy does not parse what it forwards.
 */

import { connect, createServer, type Server, type Socket } from 'node:net';
import { addressOptions } from '@rollcall/protocol';
import type { NetworkLine } from '../scenario/schema.ts';

export type NetworkConditions = Readonly<{ [Key in keyof NetworkLine]: NetworkLine[Key] | undefined }> & {
  readonly latency: number;
  readonly jitter: number;
  readonly loss: number;
  readonly halfOpen: number;
  readonly resetHandshake: number;
};

export interface FaultyProxyOptions {
  readonly target: { readonly host: string; readonly port: number };
  readonly conditions: NetworkConditions;
  /** Numbers from 0 up to but not including 1. */
  readonly random: () => number;
}

/** The least retransmission timeout of Linux. */
const RETRANSMISSION_MS = 200;
/** Bytes of the client's first flight that pass before a handshake is reset. */
const HALF_A_HELLO = 100;
/** A half-open connection forwards for so long and then nothing more. */
const SILENT_AFTER_MS = 5_000;

export async function startFaultyProxy(options: FaultyProxyOptions): Promise<FaultyProxy> {
  const proxy = new FaultyProxy(options);
  await proxy.listen();
  return proxy;
}

export class FaultyProxy {
  readonly #options: FaultyProxyOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #line: NetworkConditions;
  #port = 0;

  constructor(options: FaultyProxyOptions) {
    this.#options = options;
    this.#line = options.conditions;
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#carry(client));
  }

  /** False while it would only be in the way. */
  get isFaulty(): boolean {
    const { latency, jitter, loss, bandwidth, halfOpen, resetHandshake } = this.#line;
    return latency + jitter + loss + halfOpen + resetHandshake > 0 || bandwidth !== undefined;
  }

  get target(): { readonly host: string; readonly port: number } {
    return { host: '127.0.0.1', port: this.#port };
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', 1_024, () => {
        this.#port = (this.#server.address() as { readonly port: number }).port;
        resolve();
      });
    });
  }

  /** Applies to open connections and to new ones. */
  change(line: NetworkConditions): void {
    this.#line = line;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #carry(client: Socket): void {
    const { target } = this.#options;
    const server = connect({ ...target, ...addressOptions(target.host), allowHalfOpen: true });
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    }
    const { random } = this.#options;
    const { resetHandshake, halfOpen } = this.#line;
    if (random() < resetHandshake) {
      this.#resetInHandshake(client, server);
      return;
    }
    const pipes = [this.#pipe(client, server), this.#pipe(server, client)];
    if (random() < halfOpen) {
      setTimeout(() => {
        for (const silence of pipes) silence();
      }, SILENT_AFTER_MS).unref();
    }
  }

  #resetInHandshake(client: Socket, server: Socket): void {
    client.once('data', (bytes: Buffer) => {
      server.write(bytes.subarray(0, HALF_A_HELLO));
      client.resetAndDestroy();
      server.destroy();
    });
    for (const socket of [client, server]) socket.on('error', () => {});
  }

  /** Forwards one direction in order; the returned function stops it without closing either side. */
  #pipe(from: Socket, to: Socket): () => void {
    let free = 0; // when the line is through with what it carries
    let isSilent = false;
    const waiting: (() => void)[] = [];
    const later = (run: () => void, bytes: number) => {
      const now = performance.now();
      const { latency, jitter, loss, bandwidth } = this.#line;
      const { random } = this.#options;
      let at = now + latency + random() * jitter;
      if (random() < loss) at += RETRANSMISSION_MS;
      at = Math.max(at, free);
      if (bandwidth !== undefined) at += (bytes / bandwidth) * 1_000;
      free = at;
      // A timer counts whole milliseconds, so two may fire in the other order: each lets go the first that waits.
      waiting.push(run);
      setTimeout(() => waiting.shift()?.(), at - now);
    };
    from.on('data', (bytes: Buffer) => {
      if (isSilent) return;
      from.pause();
      later(() => {
        if (!to.destroyed) to.write(bytes);
        from.resume();
      }, bytes.length);
    });
    from.on('error', () => {});
    from.on('end', () => {
      if (!isSilent) later(() => to.end(), 0);
    });
    from.on('close', (hadError) => {
      if (!isSilent && hadError) later(() => to.destroy(), 0);
    });
    return () => {
      isSilent = true;
      from.resume();
    };
  }
}
