/**
 * The broker's end of the writer's thread. The thread begins with the first change: a fleet that keeps nothing pays for
 * none. When it dies its callers are told `unavailable`, and the next call starts another one.
 */

import { Worker } from 'node:worker_threads';
import { Problem, type ProblemCode } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { SessionChange } from './session-changes.ts';

type Call =
  | { readonly name: 'open'; readonly file: string }
  | { readonly name: 'write'; readonly changes: readonly SessionChange[] }
  | { readonly name: 'close' };

export type WriterCall = Call & { readonly id: number };

/** A Problem without its class, which threads don't share. */
export interface WriterAnswer {
  readonly id: number;
  readonly problem?: { readonly code: ProblemCode; readonly reason?: string; readonly hint?: string };
}

export class Writer {
  readonly #file: string;
  readonly #log: Logger;
  readonly #waiting = new Map<number, PromiseWithResolvers<void>>();
  #worker: Worker | undefined;
  #opened: Promise<void> | undefined;
  #calls = 0;

  constructor(file: string, log: Logger) {
    this.#file = file;
    this.#log = log;
  }

  /** Resolves when all are on disk. */
  async write(changes: readonly SessionChange[]): Promise<void> {
    await this.#open();
    await this.#ask({ name: 'write', changes });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined) return;
    await this.#opened?.catch(() => {});
    await this.#ask({ name: 'close' }).catch((error: unknown) => {
      this.#log.error({ err: error }, 'sessions were not closed');
    });
    this.#worker = undefined;
    await worker.terminate();
  }

  #open(): Promise<void> {
    this.#opened ??= this.#start();
    return this.#opened;
  }

  async #start(): Promise<void> {
    const worker = new Worker(new URL('./writer-thread.ts', import.meta.url));
    this.#worker = worker;
    let failure: unknown;
    worker.on('message', ({ id, problem }: WriterAnswer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (problem === undefined) waiting?.resolve();
      else waiting?.reject(new Problem(problem.code, problem));
    });
    worker.on('error', (error) => {
      failure = error;
    });
    worker.on('exit', (code) => this.#ended(worker, failure ?? new Error(`the thread ended with ${code}`)));
    try {
      await this.#ask({ name: 'open', file: this.#file });
    } catch (error) {
      this.#worker = undefined;
      this.#opened = undefined;
      await worker.terminate();
      throw error;
    }
  }

  #ask(call: Call): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined) return Promise.reject(new Problem('unavailable', { reason: 'no thread writes' }));
    this.#calls += 1;
    const id = this.#calls;
    const waiting = Promise.withResolvers<void>();
    this.#waiting.set(id, waiting);
    worker.postMessage({ ...call, id } satisfies WriterCall);
    return waiting.promise;
  }

  #ended(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#opened = undefined;
    this.#log.error({ err: error }, 'the thread that stores sessions ended');
    const reason = 'the thread that writes ended';
    for (const { reject } of this.#waiting.values()) reject(new Problem('unavailable', { reason, cause: error }));
    this.#waiting.clear();
  }
}
