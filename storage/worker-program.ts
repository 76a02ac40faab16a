/** The inside of a worker thread: answers each request with what its handler returns, or with the Problem that it throws. */

import { parentPort } from 'node:worker_threads';
import { asProblem } from '@rollcall/protocol';
import type { SerializedProblem, WorkerRequest, WorkerResponse } from './worker.ts';

export interface Reply {
  readonly value: unknown;
  /** Transferred instead of copied. */
  readonly transfer: readonly ArrayBuffer[];
}

export type Handlers = Readonly<Record<string, (input: never) => Reply | undefined>>;

/** `open` is called first, `close` last. */
export function answerCalls(handlers: Handlers): void {
  const port = parentPort;
  if (port === null) throw new Error('expected to run in a worker thread, found none');
  port.on('message', ({ id, name, input }: WorkerRequest) => {
    let response: WorkerResponse;
    let transfer: readonly ArrayBuffer[] = [];
    try {
      const handler = Object.hasOwn(handlers, name) ? handlers[name] : undefined;
      if (handler === undefined) throw new RangeError(`expected a call that this worker knows, found ${name}`);
      const reply = handler(input as never);
      response = { id, value: reply?.value };
      transfer = reply?.transfer ?? [];
    } catch (error) {
      response = { id, problem: serialized(error) };
    }
    port.postMessage(response, [...transfer]);
  });
}

function serialized(error: unknown): SerializedProblem {
  const { code, detail, reason, hint } = asProblem(error);
  return { code, detail, ...(reason !== undefined && { reason }), ...(hint !== undefined && { hint }) };
}
