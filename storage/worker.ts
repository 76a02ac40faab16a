/**
 * A worker thread that answers calls. When it dies its callers are told, and the next call starts another one. Knows
 * nothing of what is called; `thread-program.ts` is the other end.
 */

import { Worker } from 'node:worker_threads';
import { Problem, type ProblemCode } from '@rollcall/protocol';

export interface Call {
  readonly id: number;
  readonly name: string;
  readonly input: unknown;
}

export interface Answered {
  readonly id: number;
  readonly value?: unknown;
  readonly problem?: SentProblem;
}

/** A Problem without its class, which threads don't share. */
export interface SentProblem {
  readonly code: ProblemCode;
  readonly detail?: string;
  readonly reason?: string;
  readonly hint?: string;
}

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

export interface ThreadOptions {
  readonly program: URL;
  /** Input of the call `open`, which is the first that each new thread gets. */
  readonly opening: unknown;
  /** A thread ended that was not asked to. */
  died(error: unknown): void;
}

export class Thread {
  readonly #options: ThreadOptions;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #opened: Promise<unknown> | undefined;
  #calls = 0;
  #isClosed = false;

  constructor(options: ThreadOptions) {
    this.#options = options;
  }

  /** Rejects with the Problem of the program, or `internal` when the thread died: then nobody knows what it has done. */
  async call<Value>(name: string, input?: unknown, transfer: readonly ArrayBuffer[] = []): Promise<Value> {
    await this.open();
    return this.#ask(this.#worker, name, input, transfer);
  }

  /** Starts the thread if there is none. Rejects with the Problem that keeps it from opening. */
  open(): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(new Problem('unavailable', { reason: 'the journal is closed' }));
    this.#opened ??= this.#start();
    return this.#opened;
  }

  /** Calls `close`, then ends the thread. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#opened?.catch(() => {});
    const worker = this.#worker;
    if (worker === undefined) return;
    await this.#ask(worker, 'close').finally(() => worker.terminate());
  }

  async #start(): Promise<unknown> {
    const worker = new Worker(this.#options.program);
    this.#worker = worker;
    let failure: unknown;
    worker.on('message', (answered: Answered) => this.#settle(answered));
    worker.on('error', (error) => {
      failure = error;
    });
    worker.on('exit', (code) => this.#ended(worker, failure ?? new Error(`the thread ended with ${code}`)));
    try {
      return await this.#ask(worker, 'open', this.#options.opening);
    } catch (error) {
      this.#forget(worker);
      await worker.terminate();
      throw error;
    }
  }

  #ask<Value>(
    worker: Worker | undefined,
    name: string,
    input?: unknown,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Value> {
    if (worker === undefined) return Promise.reject(threadDied(undefined));
    this.#calls += 1;
    const call: Call = { id: this.#calls, name, input };
    return new Promise<Value>((resolve, reject) => {
      this.#waiting.set(call.id, { resolve, reject });
      worker.postMessage(call, [...transfer]);
    });
  }

  #settle({ id, value, problem }: Answered): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (problem === undefined) waiting?.resolve(value as never);
    else waiting?.reject(new Problem(problem.code, problem));
  }

  #ended(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return;
    this.#forget(worker);
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(threadDied(error));
    if (!this.#isClosed) this.#options.died(error);
  }

  #forget(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#opened = undefined;
  }
}

function threadDied(cause: unknown): Problem {
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  return new Problem('internal', { reason: `the journal's thread ended${why}`, cause });
}
