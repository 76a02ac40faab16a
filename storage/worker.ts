/**
 * The calling end of a worker thread that answers requests, one after the other. The thread starts with the first call. When it ends
 * before `close()`, pending calls are rejected and the next call starts another one. `worker-program.ts` is the other end.
 */

import { Worker } from 'node:worker_threads';
import { Problem } from '@rollcall/protocol';
import { Channel, type Transferred } from './channel.ts';

/** Calls by name. The program and its callers agree on inputs and outputs. */
export type WorkerCalls = Readonly<Record<string, { readonly input: unknown; readonly output: unknown }>>;

interface Thread {
  readonly worker: Worker;
  readonly channel: Channel<WorkerCalls, Record<string, never>>;
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
  #thread: Thread | undefined;
  #opened: Promise<unknown> | undefined;
  #isClosed = false;

  constructor(options: WorkerClientOptions) {
    this.#options = options;
  }

  /** Rejects with the Problem that the program threw, or with `endedCode` when the thread ended. */
  async call<Value>(name: string, input?: unknown, transfer: readonly Transferred[] = []): Promise<Value> {
    await this.open();
    if (this.#thread === undefined) throw this.#endedProblem(undefined);
    return this.#thread.channel.call(name, input, transfer) as Promise<Value>;
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
    const thread = this.#thread;
    if (thread === undefined) return;
    await thread.channel.call('close', undefined).finally(() => thread.worker.terminate());
  }

  async #start(): Promise<unknown> {
    const { program, name, opening, ended } = this.#options;
    const worker = new Worker(program);
    const channel = new Channel<WorkerCalls, Record<string, never>>(worker, {
      name: `the worker of ${name}`,
      failed: ended,
      onEnded: (error) => {
        if (this.#detach(thread) && !this.#isClosed) ended(error);
      },
      endedProblem: (error) => this.#endedProblem(error),
    });
    const thread: Thread = { worker, channel };
    this.#thread = thread;
    try {
      return await channel.call('open', opening);
    } catch (error) {
      this.#detach(thread);
      await worker.terminate();
      throw error;
    }
  }

  #detach(thread: Thread): boolean {
    if (this.#thread !== thread) return false;
    this.#thread = undefined;
    this.#opened = undefined;
    return true;
  }

  #endedProblem(cause: unknown): Problem {
    const { name, endedCode } = this.#options;
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    return new Problem(endedCode, { reason: `the worker of ${name} ended${why}`, cause });
  }
}
