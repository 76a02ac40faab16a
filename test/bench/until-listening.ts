/** Waits for a program that listens on a port. */

import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const LISTENS_WITHIN_MS = 10_000;

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
