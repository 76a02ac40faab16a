/**
 * The calling end of a worker thread that answers requests, one after the other. The thread starts with the first call. When it ends
 * before `close()`, pending calls are rejected and the next call starts another one. `worker-program.ts` is the other end.
 */

import { Worker } from 'node:worker_threads';
import { Problem, type ProblemCode } from '@rollcall/protocol';

export interface WorkerRequest {
  readonly id: number;
  readonly name: string;
  readonly input: unknown;
}

export interface WorkerResponse {
  readonly id: number;
  readonly value?: unknown;
  readonly problem?: SerializedProblem;
}

/** A Problem without its class, which threads don't share. */
export interface SerializedProblem {
  readonly code: ProblemCode;
  readonly detail?: string;
  readonly reason?: string;
  readonly hint?: string;
}

interface PendingCall {
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

export interface WorkerClientOptions {
  readonly program: URL;
  /** What the worker serves, as errors name it: `the telemetry journal`. */
  readonly name: string;
  /** Input of the call `open`, which is the first that each new thread gets. */
  readonly opening: unknown;
  /**
   * Code of the Problem for calls that were under way when the thread ended, with unknown effect: `unavailable` where the same call
   * may be repeated, `internal` where it may not.
   */
  readonly endedCode: 'unavailable' | 'internal';
  /** A thread ended before `close()`. */
  ended(error: unknown): void;
}

export class WorkerClient {
  readonly #options: WorkerClientOptions;
  readonly #pending = new Map<number, PendingCall>();
  #worker: Worker | undefined;
  #opened: Promise<unknown> | undefined;
  #calls = 0;
  #isClosed = false;

  constructor(options: WorkerClientOptions) {
    this.#options = options;
  }

  /** Rejects with the Problem that the program threw, or with `endedCode` when the thread ended. */
  async call<Value>(name: string, input?: unknown, transfer: readonly ArrayBuffer[] = []): Promise<Value> {
    await this.open();
    return this.#request(this.#worker, name, input, transfer);
  }

  /** Starts the thread if there is none. Rejects with the Problem of the call `open`. */
  open(): Promise<unknown> {
    if (this.#isClosed)
      return Promise.reject(new Problem('unavailable', { reason: `${this.#options.name} is closed` }));
    this.#opened ??= this.#start();
    return this.#opened;
  }

  /** Calls `close`, then ends the thread. Rejects with what `close` threw. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#opened?.catch(() => {});
    const worker = this.#worker;
    if (worker === undefined) return;
    await this.#request(worker, 'close').finally(() => worker.terminate());
  }

  async #start(): Promise<unknown> {
    const worker = new Worker(this.#options.program);
    this.#worker = worker;
    let failure: unknown;
    worker.on('message', (response: WorkerResponse) => this.#settle(response));
    worker.on('error', (error) => {
      failure = error;
    });
    worker.on('exit', (code) => this.#exited(worker, failure ?? new Error(`exit code ${code}`)));
    try {
      return await this.#request(worker, 'open', this.#options.opening);
    } catch (error) {
      this.#detach(worker);
      await worker.terminate();
      throw error;
    }
  }

  #request<Value>(
    worker: Worker | undefined,
    name: string,
    input?: unknown,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Value> {
    if (worker === undefined) return Promise.reject(this.#endedProblem(undefined));
    this.#calls += 1;
    const request: WorkerRequest = { id: this.#calls, name, input };
    return new Promise<Value>((resolve, reject) => {
      this.#pending.set(request.id, { resolve, reject });
      worker.postMessage(request, [...transfer]);
    });
  }

  #settle({ id, value, problem }: WorkerResponse): void {
    const call = this.#pending.get(id);
    this.#pending.delete(id);
    if (problem === undefined) call?.resolve(value as never);
    else call?.reject(new Problem(problem.code, problem));
  }

  #exited(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return;
    this.#detach(worker);
    const calls = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of calls) reject(this.#endedProblem(error));
    if (!this.#isClosed) this.#options.ended(error);
  }

  #detach(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#opened = undefined;
  }

  #endedProblem(cause: unknown): Problem {
    const { name, endedCode } = this.#options;
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    return new Problem(endedCode, { reason: `the worker of ${name} ended${why}`, cause });
  }
}
