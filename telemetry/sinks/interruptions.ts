/** What interrupts the loop of a forwarder, and its waits: the close of the sink, a replay, and a message that an operator skips. */

import { Problem } from '@rollcall/protocol';
import type { Cursor } from '../cursor.ts';
import type { SinkMessage } from './target.ts';

/** The loop must stop what it is doing: a replay was requested, or the sink is closing. */
export class Interrupted extends Error {}

export interface RequestedReplay {
  readonly to: Cursor;
  readonly begun: () => void;
  readonly failed: (error: unknown) => void;
}

export class Interruptions {
  readonly #stop = new AbortController();
  #isClosing = false;
  #replay: RequestedReplay | undefined;
  #skip: ((message: SinkMessage | undefined) => void) | undefined;
  /** Ends the current wait of the loop. */
  #wake: () => void = () => {};

  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** Aborted once a delivery that is under way has had its time. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Throws `Interrupted`. */
  check(): void {
    if (this.#isWanted()) throw new Interrupted();
  }

  /** Resolves when the replay has begun. Replaces one that has not. */
  requestReplay(to: Cursor): Promise<void> {
    if (this.#isClosing) return Promise.reject(stopped());
    return new Promise((resolve, reject) => {
      this.#replay?.begun();
      this.#replay = { to, begun: resolve, failed: reject };
      this.#wake();
    });
  }

  takeReplay(): RequestedReplay | undefined {
    const replay = this.#replay;
    this.#replay = undefined;
    return replay;
  }

  /** Resolves with the message, or with undefined when there is none to skip any more. */
  requestSkip(): Promise<SinkMessage | undefined> {
    if (this.#isClosing || this.#skip !== undefined) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#skip = resolve;
      this.#wake();
    });
  }

  /** The caller answers the request that it takes. */
  takeSkip(): ((message: SinkMessage | undefined) => void) | undefined {
    const skip = this.#skip;
    this.#skip = undefined;
    return skip;
  }

  /** The loop has ended: what it has not begun it will not do. */
  endRequests(): void {
    this.takeReplay()?.failed(stopped());
    this.takeSkip()?.(undefined);
  }

  /** Gives what the loop does `graceMs` to finish. `ended`: of the loop. */
  async close(graceMs: number, ended: Promise<void> | undefined): Promise<void> {
    this.#isClosing = true;
    this.#wake();
    const timer = setTimeout(() => this.#stop.abort(), graceMs);
    await ended;
    clearTimeout(timer);
    this.#stop.abort();
  }

  wait(ms: number): Promise<void> {
    if (this.#skip !== undefined) return Promise.resolve();
    return this.#untilWoken((woken) => {
      const timer = setTimeout(woken, ms);
      return () => clearTimeout(timer);
    });
  }

  waitFor(work: Promise<unknown>): Promise<void> {
    return this.#untilWoken((woken) => {
      work.then(woken, woken);
      return () => {};
    });
  }

  /** `work` rejects when its signal is aborted. */
  waitWithSignal(work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    return this.#untilWoken((woken) => {
      const stopped = new AbortController();
      work(stopped.signal).then(woken, woken);
      return () => stopped.abort();
    });
  }

  /** A target can't keep the server from stopping. */
  unlessStopped<Value>(work: Promise<Value>): Promise<Value> {
    const { signal } = this;
    return new Promise((resolve, reject) => {
      const stopped = () => reject(new Interrupted());
      signal.addEventListener('abort', stopped);
      work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stopped));
    });
  }

  #isWanted(): boolean {
    return this.#isClosing || this.#replay !== undefined;
  }

  #untilWoken(begin: (woken: () => void) => () => void): Promise<void> {
    if (this.#isWanted()) return Promise.resolve();
    return new Promise((resolve) => {
      let end = () => {};
      const woken = () => {
        if (this.#wake === woken) this.#wake = () => {};
        end();
        resolve();
      };
      this.#wake = woken;
      end = begin(woken);
    });
  }
}

function stopped(): Problem {
  return new Problem('unavailable', { reason: 'the sink is stopped' });
}
