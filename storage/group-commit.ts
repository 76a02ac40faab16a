/**
 * Gathers entries in batches, bounded by count, bytes and time, and has one batch after the other written, in order; several at once where
 * storage keeps their order. A batch that storage can't take now is held and tried again. Knows neither what an entry is nor how a batch
 * is written, and runs on the event loop of its owner. The owner bounds its memory: it asks `hasRoomFor()` before `add()`.
 */

import { Problem } from '@rollcall/protocol';
import type { GroupCommitLimits, GroupCommitOptions } from './group-commit-options.ts';

type Outcome<Result> = { readonly result: Result } | { readonly error: unknown };

interface Batch<Entry, Waiter, Result> {
  readonly entries: Entry[];
  readonly waiters: (Waiter | undefined)[];
  bytes: number;
  /** Shared by all that call `durable()`. */
  durable: PromiseWithResolvers<void> | undefined;
  /** When it could not be written for the first time. */
  heldSince: number | undefined;
  /** Of its last write; undefined before it ends. */
  outcome: Outcome<Result> | undefined;
}

export class GroupCommit<Entry, Waiter = never, Result = void> {
  readonly #options: GroupCommitOptions<Entry, Waiter, Result>;
  readonly #limits: Required<GroupCommitLimits>;
  /** The batch that gathers. */
  #open: Batch<Entry, Waiter, Result> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The open batch has gathered long enough; it gathers on only while another one is being written. */
  #isDue = false;
  /** It has gathered so much longer that it is written beside those that are being written. */
  #isOverdue = false;
  /** Batches that are full, oldest first. */
  #full: Batch<Entry, Waiter, Result>[] = [];
  /** Batches that are being written, are held, or wait for those before them: oldest first. */
  #writing: Batch<Entry, Waiter, Result>[] = [];
  #retryTimer: NodeJS.Timeout | undefined;
  #retry: (() => void) | undefined;
  #queuedBytes = 0;
  #commits = 0;
  #isHolding = false;
  #isUnderPressure = false;
  #isClosed = false;
  #flushes: (() => void)[] = [];

  constructor(options: GroupCommitOptions<Entry, Waiter, Result>) {
    this.#options = options;
    const unbounded = { batchEntries: Number.POSITIVE_INFINITY, batchBytes: Number.POSITIVE_INFINITY };
    this.#limits = { ...unbounded, idleWindow: options.limits.window, inFlight: 1, ...options.limits };
  }

  /** Batches written so far. */
  get commits(): number {
    return this.#commits;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Entries that are not being written yet. */
  get waitingEntries(): number {
    return this.#full.reduce((sum, { entries }) => sum + entries.length, this.#open?.entries.length ?? 0);
  }

  get isUnderPressure(): boolean {
    return this.#isUnderPressure;
  }

  /** The last write failed, and is repeated until it succeeds. */
  get isHolding(): boolean {
    return this.#isHolding;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  hasRoomFor(bytes: number): boolean {
    return !this.#isClosed && this.#queuedBytes + bytes <= this.#limits.queuedBytes;
  }

  /** Takes the entry whatever room there is. */
  add(entry: Entry, bytes: number, waiter?: Waiter): void {
    this.#open ??= this.#begin();
    const batch = this.#open;
    batch.entries.push(entry);
    batch.waiters.push(waiter);
    batch.bytes += bytes;
    this.#queuedBytes += bytes;
    if (batch.entries.length >= this.#limits.batchEntries || batch.bytes >= this.#limits.batchBytes) {
      this.#shut();
      this.#proceed();
    }
    if (!this.#isUnderPressure && this.#queuedBytes > this.#limits.queuedBytes / 2) this.#judgePressure();
  }

  /** Calls `beforeCommit()` within `idleWindow`. */
  schedule(): void {
    if (this.#timer === undefined && !this.#isDue) this.#startTimer(this.#limits.idleWindow);
  }

  /**
   * Resolves when everything added so far is on disk; at once when it is. Settles in the order of the calls. Rejects with the error
   * of a batch that is discarded or that storage doesn't take within `patience`.
   */
  durable(): Promise<void> {
    const batch = this.#open ?? this.#full.at(-1) ?? this.#writing.at(-1);
    if (batch === undefined) return Promise.resolve();
    if (batch.durable === undefined) {
      batch.durable = Promise.withResolvers();
      batch.durable.promise.catch(() => {}); // a caller may drop its promise
      if (batch === this.#open) this.#hasten();
    }
    return batch.durable.promise;
  }

  /** Writes everything added so far without waiting for more. Resolves when it is done, and when storage can't take it now. */
  flush(): Promise<void> {
    if (this.#retry !== undefined) return Promise.resolve();
    return new Promise((resolve) => {
      this.#flushes.push(resolve);
      this.#proceed();
    });
  }

  /** Tries everything once more, and discards what can't be written. There is no room afterwards. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retryTimer);
    this.#retry?.();
    await this.flush();
  }

  #begin(): Batch<Entry, Waiter, Result> {
    if (this.#timer === undefined) this.#startTimer(this.#limits.idleWindow);
    return { entries: [], waiters: [], bytes: 0, durable: undefined, heldSince: undefined, outcome: undefined };
  }

  #startTimer(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#isOverdue = this.#isDue;
      this.#isDue = true;
      this.#proceed();
      // Commits cost more than waiting a little for those that are being written: one for each of them.
      const { inFlight, window } = this.#limits;
      if (this.#isDue && !this.#isOverdue && inFlight > 1) this.#startTimer(window * this.#writing.length);
    }, ms);
  }

  /** A caller awaits the open batch. */
  #hasten(): void {
    if (this.#limits.idleWindow === this.#limits.window || this.#isDue) return;
    if (this.#mayWrite()) this.#startTimer(this.#limits.window);
    else this.#isDue = true;
  }

  /** Ends the gathering of the open batch. */
  #shut(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isDue = false;
    this.#isOverdue = false;
    if (this.#open !== undefined) this.#full.push(this.#open);
    this.#open = undefined;
  }

  /** Nothing new is written while a batch has failed: it would overtake it. */
  #mayWrite(): boolean {
    if (this.#writing.length === 0) return true;
    return this.#writing.length < this.#limits.inFlight && !this.#writing.some(hasFailed);
  }

  #proceed(): void {
    while (this.#mayWrite()) {
      const isDue = this.#isOverdue || (this.#isDue && this.#writing.length === 0);
      if (this.#full.length === 0 && (isDue || this.#isClosed || this.#flushes.length > 0)) {
        this.#options.beforeCommit?.();
        if (!this.#mayWrite()) return; // what it added filled a batch
        this.#shut();
      }
      const batch = this.#full.shift();
      if (batch === undefined) break;
      this.#writing.push(batch);
      this.#write(batch);
    }
    if (this.#writing.length === 0) this.#endFlushes();
  }

  #write(batch: Batch<Entry, Waiter, Result>): void {
    batch.outcome = undefined;
    const ended = (outcome: Outcome<Result>) => {
      batch.outcome = outcome;
      this.#report();
    };
    this.#options.write(batch.entries).then(
      (result) => ended({ result }),
      (error: unknown) => ended({ error }),
    );
  }

  /** Reports the oldest batches, as far as their writes have ended. */
  #report(): void {
    while (this.#retry === undefined) {
      const [batch] = this.#writing;
      if (batch?.outcome === undefined) return;
      if ('result' in batch.outcome) this.#written(batch, batch.outcome.result);
      else this.#failed(batch, batch.outcome.error);
    }
  }

  #written(batch: Batch<Entry, Waiter, Result>, result: Result): void {
    const wasHolding = this.#isHolding;
    this.#isHolding = false;
    this.#commits += 1;
    this.#writing.shift();
    this.#release(batch);
    if (wasHolding) this.#options.resumed?.();
    batch.durable?.resolve();
    this.#options.committed?.(batch.entries, batch.waiters, result);
    this.#proceed();
  }

  #failed(batch: Batch<Entry, Waiter, Result>, error: unknown): void {
    const { now, isTransient = isUnavailable, afterPatience } = this.#options;
    batch.heldSince ??= now();
    // A clock that steps back must not hold a batch for ever.
    const isPatient = Math.abs(now() - batch.heldSince) < this.#limits.patience;
    const mayPass = isTransient(error);
    if (!mayPass || this.#isClosed || (!isPatient && afterPatience === 'discard')) {
      this.#discard(error, mayPass);
      return;
    }
    if (!isPatient) this.#rejectWaiting(error);
    this.#hold(batch, error);
  }

  #hold(batch: Batch<Entry, Waiter, Result>, error: unknown): void {
    if (!this.#isHolding) this.#options.held?.(batch.entries, error);
    this.#isHolding = true;
    this.#judgePressure();
    this.#retry = () => {
      this.#retry = undefined;
      for (const one of this.#writing.filter(hasFailed)) this.#write(one);
    };
    this.#retryTimer = setTimeout(this.#retry, this.#limits.retryEvery);
    this.#endFlushes();
  }

  #discard(error: unknown, mayPass: boolean): void {
    // Without a batch to retry the owner would never learn that storage works again.
    this.#isHolding = mayPass && (this.#full.length > 0 || this.#open !== undefined);
    for (const batch of this.#writing.splice(0)) {
      this.#release(batch);
      batch.durable?.reject(error);
      this.#options.discarded?.(batch.entries, batch.waiters, error);
    }
    this.#proceed();
  }

  /** The entries stay queued: those that are deletions would come back at the next start if they were discarded. */
  #rejectWaiting(error: unknown): void {
    for (const batch of [...this.#writing, ...this.#full, this.#open]) {
      batch?.durable?.reject(error);
      if (batch !== undefined) batch.durable = undefined;
    }
  }

  #release(batch: Batch<Entry, Waiter, Result>): void {
    this.#queuedBytes -= batch.bytes;
    if (this.#isUnderPressure !== this.#isHolding) this.#judgePressure();
  }

  #judgePressure(): void {
    const bound = this.#isUnderPressure ? this.#limits.queuedBytes / 4 : this.#limits.queuedBytes / 2;
    const isUnderPressure = this.#isHolding || this.#queuedBytes > bound;
    if (isUnderPressure === this.#isUnderPressure) return;
    this.#isUnderPressure = isUnderPressure;
    this.#options.pressureChanged?.(isUnderPressure);
  }

  #endFlushes(): void {
    for (const resolve of this.#flushes.splice(0)) resolve();
  }
}

function hasFailed({ outcome }: { readonly outcome: Outcome<unknown> | undefined }): boolean {
  return outcome !== undefined && 'error' in outcome;
}

function isUnavailable(error: unknown): boolean {
  return error instanceof Problem && error.code === 'unavailable';
}
