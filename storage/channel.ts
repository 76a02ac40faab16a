/**
 * Calls and one-way messages between two threads of one process, over a worker or a message port. Handlers are called strictly in the
 * order of posting; answers come in any order. What is sent in one turn of the event loop crosses in at most two posts: the first
 * entry without delay, the rest together; `tellSoon()` waits for the next post. Nothing is bounded: callers bound what they have under way.
 * Values are trees of plain objects, arrays and primitives (structured clone). Bytes cross as Uint8Array and are `Buffer`s again on
 * the other side; of a view only its own bytes are copied, not the memory pool that it lies in.
 */

import { type MessagePort, Worker } from 'node:worker_threads';
import { asProblem, Problem, type ProblemCode } from '@rollcall/protocol';
import { bytesToSend, receivedBytes } from './channel-bytes.ts';

/** What one name takes and gives back. Of a one-way message `output` is undefined. */
export interface ChannelCall {
  readonly input: unknown;
  readonly output: unknown;
}

/** The calls that one side answers: `interface KeeperCalls { claim: { input: Claim; output: Claimed } }`. */
export type ChannelCalls<Calls> = { readonly [Name in keyof Calls]: ChannelCall };

/** A Problem without its class, which threads do not share. */
interface SerializedProblem {
  readonly code: ProblemCode;
  readonly detail: string;
  readonly reason: string | undefined;
  readonly hint: string | undefined;
  readonly retryAfter: number | undefined;
}

/** What is handed over instead of copied: memory, or the end of another channel. */
export type Transferred = ArrayBuffer | MessagePort;

/** The output of a handler together with what is transferred. */
export class Transferring<Output> {
  readonly value: Output;
  readonly transfer: readonly Transferred[];

  constructor(value: Output, transfer: readonly Transferred[]) {
    this.value = value;
    this.transfer = transfer;
  }
}

/** The output of a handler that nobody waits for: it crosses as {@link Channel.tellSoon} does. */
export class AnswerSoon<Output> {
  readonly value: Output;

  constructor(value: Output) {
    this.value = value;
  }
}

type Answered<Output> = Output | Transferring<Output> | AnswerSoon<Output>;
type HandlerResult<Output> = Answered<Output> | Promise<Answered<Output>>;

/** Where the output is undefined, a handler may be a function or an async function without a result. */
export type ChannelHandler<Call extends ChannelCall> = (
  input: Call['input'],
) => [Call['output']] extends [undefined] ? unknown : HandlerResult<Call['output']>;

export interface ChannelOptions {
  /** The other side, as errors name it: `the worker of the journal`. */
  readonly name: string;
  /** The handler of a one-way message threw, or a message could not be sent. Called synchronously. */
  failed(error: unknown, name: string): void;
  /** The other side has ended. Called once, not after `close()`; pending calls are rejected afterwards. */
  onEnded?(cause: unknown): void;
  /** What pending and later calls are rejected with when the other side has ended; Problem `unavailable` when left out. */
  endedProblem?(cause: unknown): Problem;
}

interface PendingCall {
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

/** The kinds of entries. A post is one flat array with four elements per entry: kind, number of the call, name, value. */
const CALL = 0;
const TELL = 1;
const ANSWER = 2;
const PROBLEM = 3;
const STRIDE = 4;

/** How long a message that may wait for the next post does so, in ms. */
const SOON_MS = 10;

type AnyHandler = (input: unknown) => unknown;

/** `Theirs`: the calls that the other side answers. `Ours`: those that this side answers. */
export class Channel<Theirs extends ChannelCalls<Theirs>, Ours extends ChannelCalls<Ours>> {
  readonly #port: Worker | MessagePort;
  readonly #options: ChannelOptions;
  readonly #handlers = new Map<string, AnyHandler>();
  readonly #pending = new Map<number, PendingCall>();
  #calls = 0;
  /** Entries that were not posted yet, and the memory that goes with them. */
  #entries: unknown[] = [];
  #transfer: Transferred[] = [];
  /** The first entry of this turn was posted, or is about to be; what comes after it waits for the end of the turn. */
  #isInTurn = false;
  /** Posts entries that wait for the next post, if there is none. */
  #soon: NodeJS.Timeout | undefined;
  #isClosed = false;
  #error: unknown;
  #ended: { readonly cause: unknown } | undefined;

  /** Handlers have to be set in the same turn. */
  constructor(port: Worker | MessagePort, options: ChannelOptions) {
    this.#port = port;
    this.#options = options;
    port.on('message', (entries: unknown[]) => this.#receive(entries));
    if (port instanceof Worker) {
      port.on('error', (error) => {
        this.#error = error;
      });
      port.on('exit', (code) => this.#end(this.#error ?? new Error(`exit code ${code}`)));
    } else {
      port.on('close', () => this.#end(undefined));
    }
  }

  get hasEnded(): boolean {
    return this.#ended !== undefined;
  }

  handle<Name extends keyof Ours & string>(name: Name, handler: ChannelHandler<Ours[Name]>): void {
    this.#handlers.set(name, handler as AnyHandler);
  }

  /** Rejects with the Problem that the handler threw, with Problem `internal` when the input cannot be sent, or with `endedProblem`. */
  call<Name extends keyof Theirs & string>(
    name: Name,
    input: Theirs[Name]['input'],
    transfer: readonly Transferred[] = [],
  ): Promise<Theirs[Name]['output']> {
    if (this.#ended !== undefined) return Promise.reject(this.#endedProblem(this.#ended.cause));
    this.#calls += 1;
    const id = this.#calls;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#send(CALL, id, name, input, transfer);
    });
  }

  /** Calls a handler without an answer. Does nothing when the other side has ended. */
  tell<Name extends keyof Theirs & string>(
    name: Name,
    input: Theirs[Name]['input'],
    transfer: readonly Transferred[] = [],
  ): void {
    this.#send(TELL, 0, name, input, transfer);
  }

  /**
   * As {@link tell}, with the next post, after a few milliseconds at the latest: each post wakes the other thread. In order with all other
   * entries.
   */
  tellSoon<Name extends keyof Theirs & string>(name: Name, input: Theirs[Name]['input']): void {
    this.#sendSoon(TELL, 0, name, input);
  }

  /** Posts what was sent, and ends a message port. A worker is ended by its owner. */
  close(): void {
    this.#isClosed = true;
    this.#flush();
    if (!(this.#port instanceof Worker)) this.#port.close();
  }

  #send(kind: number, id: number, name: string, value: unknown, transfer: readonly Transferred[]): void {
    if (this.#ended !== undefined) return;
    this.#entries.push(kind, id, name, bytesToSend(value, transfer));
    if (transfer.length > 0) this.#transfer.push(...transfer);
    if (this.#isInTurn) return;
    this.#isInTurn = true;
    queueMicrotask(() => this.#flush());
    setImmediate(() => {
      this.#isInTurn = false;
      this.#flush();
    });
  }

  #sendSoon(kind: number, id: number, name: string, value: unknown): void {
    if (this.#ended !== undefined) return;
    this.#entries.push(kind, id, name, bytesToSend(value, []));
    this.#soon ??= setTimeout(() => this.#flush(), SOON_MS);
  }

  #flush(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    if (this.#entries.length === 0) return;
    const entries = this.#entries;
    const transfer = this.#transfer;
    this.#entries = [];
    this.#transfer = [];
    try {
      this.#port.postMessage(entries, transfer);
    } catch (error) {
      this.#postOneByOne(entries, error);
    }
  }

  /** One of the entries holds what cannot be cloned: only that one is not sent. Memory of the others is copied. */
  #postOneByOne(entries: readonly unknown[], cause: unknown): void {
    for (let at = 0; at < entries.length; at += STRIDE) {
      const entry = entries.slice(at, at + STRIDE) as [number, number, string, unknown];
      try {
        this.#port.postMessage(entry);
      } catch {
        this.#notSent(entry, cause);
      }
    }
  }

  #notSent([kind, id, name]: readonly [number, number, string, unknown], cause: unknown): void {
    if (kind === CALL) this.#take(id)?.reject(asProblem(cause));
    else if (kind === TELL) this.#options.failed(cause, name);
    else this.#port.postMessage([PROBLEM, id, name, serialized(cause)]);
  }

  #receive(entries: unknown[]): void {
    for (let at = 0; at < entries.length; at += STRIDE) {
      const id = entries[at + 1] as number;
      const name = entries[at + 2] as string;
      const value = receivedBytes(entries[at + 3]);
      const kind = entries[at];
      if (kind === TELL) this.#receiveTell(name, value);
      else if (kind === CALL) this.#receiveCall(id, name, value);
      else if (kind === ANSWER) this.#take(id)?.resolve(value as never);
      else this.#take(id)?.reject(deserialized(value as SerializedProblem));
    }
  }

  #receiveTell(name: string, input: unknown): void {
    try {
      const result = this.#handlerOf(name)(input);
      if (result instanceof Promise) result.catch((error: unknown) => this.#options.failed(error, name));
    } catch (error) {
      this.#options.failed(error, name);
    }
  }

  #receiveCall(id: number, name: string, input: unknown): void {
    try {
      const result = this.#handlerOf(name)(input);
      if (!(result instanceof Promise)) {
        this.#answer(id, name, result);
        return;
      }
      result.then(
        (output: unknown) => this.#answer(id, name, output),
        (error: unknown) => this.#send(PROBLEM, id, name, serialized(error), []),
      );
    } catch (error) {
      this.#send(PROBLEM, id, name, serialized(error), []);
    }
  }

  #answer(id: number, name: string, output: unknown): void {
    if (output instanceof Transferring) this.#send(ANSWER, id, name, output.value, output.transfer);
    else if (output instanceof AnswerSoon) this.#sendSoon(ANSWER, id, name, output.value);
    else this.#send(ANSWER, id, name, output, []);
  }

  #handlerOf(name: string): AnyHandler {
    const handler = this.#handlers.get(name);
    if (handler === undefined) throw new RangeError(`expected a call that this side answers, found ${name}`);
    return handler;
  }

  #take(id: number): PendingCall | undefined {
    const call = this.#pending.get(id);
    this.#pending.delete(id);
    return call;
  }

  #end(cause: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = { cause };
    clearTimeout(this.#soon);
    this.#entries = [];
    this.#transfer = [];
    const calls = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of calls) reject(this.#endedProblem(cause));
    if (!this.#isClosed) this.#options.onEnded?.(cause);
  }

  #endedProblem(cause: unknown): Problem {
    const { name, endedProblem } = this.#options;
    if (endedProblem !== undefined) return endedProblem(cause);
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    return new Problem('unavailable', { reason: `${name} ended${why}`, cause });
  }
}

function serialized(error: unknown): SerializedProblem {
  const { code, detail, reason, hint, retryAfter } = asProblem(error);
  return { code, detail, reason, hint, retryAfter };
}

function deserialized({ code, detail, reason, hint, retryAfter }: SerializedProblem): Problem {
  return new Problem(code, {
    detail,
    ...(reason !== undefined && { reason }),
    ...(hint !== undefined && { hint }),
    ...(retryAfter !== undefined && { retryAfter }),
  });
}
