/** A TCP line to a server that a test can cut after so many bytes, or let fall silent without a word to either side. */

import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

export interface CuttingLine {
  readonly port: number;
  /** The connections to come end after so many bytes from the server, one number each; those after them are whole. */
  cutAfter(...bytes: readonly number[]): void;
  /** Nothing passes on the connections there are, and nobody is told. */
  fallSilent(): void;
  /** Connections so far. */
  readonly opened: number;
}

/** Ends with the test. */
export async function cuttingLine(to: number): Promise<CuttingLine> {
  const sockets = new Set<Socket>();
  let cuts: readonly number[] = [];
  let opened = 0;
  const server = createServer((client) => {
    opened += 1;
    let left = cuts[0] ?? Number.POSITIVE_INFINITY;
    cuts = cuts.slice(1);
    const inner = connect(to, '127.0.0.1');
    for (const [one, other] of [
      [client, inner],
      [inner, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
    client.pipe(inner);
    inner.on('data', (bytes: Buffer) => {
      client.write(bytes.subarray(0, left));
      left -= bytes.length;
      if (left <= 0) client.destroySoon();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    cutAfter: (...bytes) => {
      cuts = bytes;
    },
    fallSilent: () => {
      for (const socket of sockets) {
        socket.unpipe();
        socket.removeAllListeners('data');
        socket.resume();
      }
    },
    get opened() {
      return opened;
    },
  };
}
