/** The inside of a worker thread: answers each request with what its handler returns, or with the Problem that it throws. */

import { parentPort } from 'node:worker_threads';
import { Channel, Transferring } from './channel.ts';
import type { WorkerCalls } from './worker.ts';

export interface Reply {
  readonly value: unknown;
  /** Transferred instead of copied. */
  readonly transfer: readonly ArrayBuffer[];
}

export type Handlers = Readonly<Record<string, (input: never) => Reply | undefined>>;

/** `open` is called first, `close` last. */
export function answerCalls(handlers: Handlers): void {
  if (parentPort === null) throw new Error('expected to run in a worker thread, found none');
  const channel = new Channel<Record<string, never>, WorkerCalls>(parentPort, {
    name: 'the thread that calls',
    failed: (error) => {
      throw error;
    },
  });
  for (const [name, handler] of Object.entries(handlers)) {
    channel.handle(name, (input) => {
      const reply = handler(input as never);
      return reply && new Transferring(reply.value, reply.transfer);
    });
  }
}
