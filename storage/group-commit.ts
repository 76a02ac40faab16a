/**
 * Gathers entries in batches, bounded by count, bytes and time, and has one batch after the other written, in order. A batch that
 * storage can't take now is held and tried again. Knows neither what an entry is nor how a batch is written, and runs on the event
 * loop of its owner. The owner bounds its memory: it asks `hasRoomFor()` before `add()`.
 */

import { Problem } from '@rollcall/protocol';

export interface GroupCommitLimits {
  /** Milliseconds that a batch gathers, from its first entry on. */
  readonly window: number;
  /**
   * Milliseconds that a batch gathers while no caller awaits `durable()`. With this limit `window` begins when a caller does, and an
   * awaited batch is written as soon as the batch before it is.
   */
  readonly idleWindow?: number;
  /** A batch is written at once when it has so many entries or bytes; any number when left out. */
  readonly batchEntries?: number;
  readonly batchBytes?: number;
  /** Bytes that may be queued, those that are being written among them. Pressure begins at half of it, and ends at a quarter. */
  readonly queuedBytes: number;
  /** Milliseconds that waiters wait while storage is full, busy or failing; and between two tries. */
  readonly patience: number;
  readonly retryEvery: number;
}

/** Called synchronously; a handler must not throw. */
export interface GroupCommitHandlers<Entry, Waiter, Result> {
  /** `waiters` have the indices of their entries. */
  committed?(entries: readonly Entry[], waiters: readonly (Waiter | undefined)[], result: Result): void;
  /** None of them is stored, and none will be. */
  discarded?(entries: readonly Entry[], waiters: readonly (Waiter | undefined)[], error: unknown): void;
  /** Storage can't take them now. Called once until a commit succeeds. */
  held?(entries: readonly Entry[], error: unknown): void;
  /** A commit succeeded after batches were held. */
  resumed?(): void;
  pressureChanged?(isUnderPressure: boolean): void;
}

export interface GroupCommitOptions<Entry, Waiter, Result> extends GroupCommitHandlers<Entry, Waiter, Result> {
  readonly limits: GroupCommitLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Resolves when all of them are on disk; rejects when none is. */
  write(entries: readonly Entry[]): Promise<Result>;
  /** Adds what was left for later; called before a batch that is due is closed. */
  beforeCommit?(): void;
  /** Whether the same write may succeed later; Problem `unavailable` when left out. */
  isTransient?(error: unknown): boolean;
  /** What happens to a held batch after `patience`. Promises of `durable()` reject in both cases. */
  readonly afterPatience: 'discard' | 'retry';
}

interface Batch<Entry, Waiter> {
  readonly entries: Entry[];
  readonly waiters: (Waiter | undefined)[];
  bytes: number;
  /** Shared by all that call `durable()`. */
  durable: PromiseWithResolvers<void> | undefined;
  /** When it could not be written for the first time. */
  heldSince: number | undefined;
}

export class GroupCommit<Entry, Waiter = never, Result = void> {
  readonly #options: GroupCommitOptions<Entry, Waiter, Result>;
  readonly #limits: Required<GroupCommitLimits>;
  /** The batch that gathers. */
  #open: Batch<Entry, Waiter> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The open batch has gathered long enough; it gathers on only while another one is being written. */
  #isDue = false;
  /** Batches that are full, oldest first. */
  #full: Batch<Entry, Waiter>[] = [];
  #writing: Batch<Entry, Waiter> | undefined;
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
    this.#limits = { ...unbounded, idleWindow: options.limits.window, ...options.limits };
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
    const batch = this.#open ?? this.#full.at(-1) ?? this.#writing;
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

  #begin(): Batch<Entry, Waiter> {
    if (this.#timer === undefined) this.#startTimer(this.#limits.idleWindow);
    return { entries: [], waiters: [], bytes: 0, durable: undefined, heldSince: undefined };
  }

  #startTimer(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#isDue = true;
      this.#proceed();
    }, ms);
  }

  /** A caller awaits the open batch. */
  #hasten(): void {
    if (this.#limits.idleWindow === this.#limits.window || this.#isDue) return;
    if (this.#writing === undefined) this.#startTimer(this.#limits.window);
    else this.#isDue = true;
  }

  /** Ends the gathering of the open batch. */
  #shut(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isDue = false;
    if (this.#open !== undefined) this.#full.push(this.#open);
    this.#open = undefined;
  }

  #proceed(): void {
    if (this.#writing !== undefined) return;
    if (this.#full.length === 0 && (this.#isDue || this.#isClosed || this.#flushes.length > 0)) {
      this.#options.beforeCommit?.();
      if (this.#writing !== undefined) return; // what it added filled a batch
      this.#shut();
    }
    const batch = this.#full.shift();
    if (batch !== undefined) this.#write(batch);
    else this.#endFlushes();
  }

  #write(batch: Batch<Entry, Waiter>): void {
    this.#writing = batch;
    this.#options.write(batch.entries).then(
      (result) => this.#written(batch, result),
      (error: unknown) => this.#failed(batch, error),
    );
  }

  #written(batch: Batch<Entry, Waiter>, result: Result): void {
    const wasHolding = this.#isHolding;
    this.#isHolding = false;
    this.#commits += 1;
    this.#release(batch);
    if (wasHolding) this.#options.resumed?.();
    batch.durable?.resolve();
    this.#options.committed?.(batch.entries, batch.waiters, result);
    this.#proceed();
  }

  #failed(batch: Batch<Entry, Waiter>, error: unknown): void {
    const { now, isTransient = isUnavailable, afterPatience } = this.#options;
    batch.heldSince ??= now();
    // A clock that steps back must not hold a batch for ever.
    const isPatient = Math.abs(now() - batch.heldSince) < this.#limits.patience;
    const mayPass = isTransient(error);
    if (!mayPass || this.#isClosed || (!isPatient && afterPatience === 'discard')) {
      this.#discard(batch, error, mayPass);
      return;
    }
    if (!isPatient) this.#rejectWaiting(error);
    this.#hold(batch, error);
  }

  #hold(batch: Batch<Entry, Waiter>, error: unknown): void {
    if (!this.#isHolding) this.#options.held?.(batch.entries, error);
    this.#isHolding = true;
    this.#judgePressure();
    this.#retry = () => {
      this.#retry = undefined;
      this.#write(batch);
    };
    this.#retryTimer = setTimeout(this.#retry, this.#limits.retryEvery);
    this.#endFlushes();
  }

  #discard(batch: Batch<Entry, Waiter>, error: unknown, mayPass: boolean): void {
    // Without a batch to retry the owner would never learn that storage works again.
    this.#isHolding = mayPass && (this.#full.length > 0 || this.#open !== undefined);
    this.#release(batch);
    batch.durable?.reject(error);
    this.#options.discarded?.(batch.entries, batch.waiters, error);
    this.#proceed();
  }

  /** The entries stay queued: those that are deletions would come back at the next start if they were discarded. */
  #rejectWaiting(error: unknown): void {
    for (const batch of [this.#writing, ...this.#full, this.#open]) {
      batch?.durable?.reject(error);
      if (batch !== undefined) batch.durable = undefined;
    }
  }

  #release(batch: Batch<Entry, Waiter>): void {
    this.#writing = undefined;
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

function isUnavailable(error: unknown): boolean {
  return error instanceof Problem && error.code === 'unavailable';
}
