/** The inside of a thread: answers each call with what its handler returns, or with the Problem that it throws. */

import { parentPort } from 'node:worker_threads';
import { asProblem } from '@rollcall/protocol';
import type { Answered, Call, SentProblem } from './worker.ts';

export interface Reply {
  readonly value: unknown;
  /** Handed over instead of copied. */
  readonly transfer: readonly ArrayBuffer[];
}

export type Handlers = Readonly<Record<string, (input: never) => Reply | undefined>>;

export function answerCalls(handlers: Handlers): void {
  const port = parentPort;
  if (port === null) throw new Error('expected to run in a worker thread, found none');
  port.on('message', ({ id, name, input }: Call) => {
    let answered: Answered;
    let transfer: readonly ArrayBuffer[] = [];
    try {
      const handler = Object.hasOwn(handlers, name) ? handlers[name] : undefined;
      if (handler === undefined) throw new RangeError(`expected a call that this thread knows, found ${name}`);
      const reply = handler(input as never);
      answered = { id, value: reply?.value };
      transfer = reply?.transfer ?? [];
    } catch (error) {
      answered = { id, problem: sentProblem(error) };
    }
    port.postMessage(answered, [...transfer]);
  });
}

function sentProblem(error: unknown): SentProblem {
  const { code, detail, reason, hint } = asProblem(error);
  return { code, detail, ...(reason !== undefined && { reason }), ...(hint !== undefined && { hint }) };
}
