/** Ports for a program that can't pick a free one by itself. */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const LISTENS_WITHIN_MS = 10_000;

/** Free now; another program could take it before it is used, and then the start fails. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Rejects when the program ends or takes too long. */
export async function untilListening(port: number, program: { readonly ended: Promise<string> }): Promise<void> {
  const deadline = performance.now() + LISTENS_WITHIN_MS;
  let end: string | undefined;
  void program.ended.then((how) => {
    end = how;
  });
  while (end === undefined && performance.now() < deadline) {
    if (await accepts(port)) return;
    await sleep(20);
  }
  throw new Error(`port ${port} does not answer: ${end ?? 'the program takes too long'}`);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
