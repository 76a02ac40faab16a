/**
 * Gathers changes and has them committed together, one batch after the other, in the order they were made. Changes of
 * one turn of the event loop are always in one transaction. What can't be written now stays and is tried again until it
 * is; who waits for it is told after a while. Does not know what a change is, or how it is written.
 */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';

export interface CommitLimits {
  /** How long a batch gathers while somebody waits for it, in ms; and while nobody does. */
  readonly window: number;
  readonly lazyWindow: number;
  /** Weight of changes that may wait to be written, in bytes; beyond it nothing that only adds is taken. */
  readonly waitingBytes: number;
  /** How long somebody waits for a disk that is full, busy or failing, in ms; and how often it is tried. */
  readonly patience: number;
  readonly retryEvery: number;
}

export const COMMIT_LIMITS: CommitLimits = {
  window: 2,
  lazyWindow: 50,
  waitingBytes: 16 * 1_048_576,
  patience: 30_000,
  retryEvery: 250,
};

export interface CommitOptions<Change> {
  readonly limits: CommitLimits;
  readonly now: () => number;
  readonly log: Logger;
  /** Pushes what was left for later, just before a batch is closed. */
  gather?(): void;
  /** Resolves when all are on disk; rejects when none is. */
  write(changes: readonly Change[]): Promise<void>;
}

/** What a change weighs besides its values. */
const CHANGE_OVERHEAD = 100;

/** The disk, or the directory, can't take it now and may later. */
const PASSING: ReadonlySet<string> = new Set(['unavailable', 'data_directory_unusable']);

interface Batch<Change> {
  readonly changes: Change[];
  bytes: number;
  /** Of those who wait for it; made when the first of them comes. */
  waiter: PromiseWithResolvers<void> | undefined;
}

export class Commits<Change> {
  readonly #options: CommitOptions<Change>;
  #open: Batch<Change> = { changes: [], bytes: 0, waiter: undefined };
  #writing: Batch<Change> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isTimerShort = false;
  #failingSince: number | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #retry: (() => void) | undefined;
  #waitingBytes = 0;
  #isClosed = false;
  #emptied: (() => void)[] = [];
  #committed = 0;

  constructor(options: CommitOptions<Change>) {
    this.#options = options;
  }

  /** Batches committed so far. */
  get committed(): number {
    return this.#committed;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Whether disk and queue are such that more can be promised. */
  get isTaking(): boolean {
    return !this.#isClosed && this.#waitingBytes < this.#options.limits.waitingBytes;
  }

  /** `bytes`: of its values. */
  push(change: Change, bytes: number): void {
    const weight = bytes + CHANGE_OVERHEAD;
    this.#open.changes.push(change);
    this.#open.bytes += weight;
    this.#waitingBytes += weight;
    this.nudge();
  }

  /** Something will be gathered: a batch is due, however late. */
  nudge(): void {
    if (this.#timer === undefined && this.#writing === undefined) this.#startTimer(false);
  }

  /**
   * Resolves when everything pushed so far is on disk; at once when it is. Settles in the order of the calls. Rejects
   * with Problem `unavailable` when the disk doesn't take it for too long; it may still be written later.
   */
  durable(): Promise<void> {
    const batch = this.#open.changes.length > 0 ? this.#open : this.#writing;
    if (batch === undefined) return Promise.resolve();
    if (batch.waiter === undefined) {
      batch.waiter = Promise.withResolvers();
      batch.waiter.promise.catch(() => {}); // who waits hears of it; nobody else has to
    }
    if (batch === this.#open && this.#writing === undefined && !this.#isTimerShort) this.#startTimer(true);
    return batch.waiter.promise;
  }

  /** Writes what waits, as far as the disk takes it, and takes no more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retryTimer);
    this.#retry?.();
    await this.flush();
  }

  /** Resolves when nothing waits any more, or nothing can be written. */
  flush(): Promise<void> {
    this.#proceed();
    if (this.#writing === undefined || this.#retry !== undefined) return Promise.resolve();
    return new Promise((resolve) => this.#emptied.push(resolve));
  }

  #startTimer(isShort: boolean): void {
    clearTimeout(this.#timer);
    this.#isTimerShort = isShort;
    const { window, lazyWindow } = this.#options.limits;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#proceed();
      },
      isShort ? window : lazyWindow,
    );
  }

  #proceed(): void {
    if (this.#writing !== undefined) return;
    this.#options.gather?.();
    const batch = this.#open;
    if (batch.changes.length === 0) {
      this.#tellEmptied();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isTimerShort = false;
    this.#open = { changes: [], bytes: 0, waiter: undefined };
    this.#writing = batch;
    this.#write(batch);
  }

  #write(batch: Batch<Change>): void {
    this.#options.write(batch.changes).then(
      () => {
        if (this.#failingSince !== undefined) this.#options.log.info('sessions are stored again');
        this.#failingSince = undefined;
        this.#committed += 1;
        this.#finish(batch);
        batch.waiter?.resolve();
        this.#continue();
      },
      (error: unknown) => this.#failed(batch, error),
    );
  }

  #failed(batch: Batch<Change>, error: unknown): void {
    const { log, now, limits } = this.#options;
    const mayPass = error instanceof Problem && PASSING.has(error.code) && !this.#isClosed;
    if (!mayPass) {
      log.error({ err: error, changes: batch.changes.length }, 'changes of sessions were not stored');
      this.#finish(batch);
      batch.waiter?.reject(error);
      this.#continue();
      return;
    }
    if (this.#failingSince === undefined) log.warn({ err: error }, 'sessions can not be stored now');
    this.#failingSince ??= now();
    // Who waits hears of it, but the changes stay: forgotten deletions would come back at the next start.
    if (Math.abs(now() - this.#failingSince) >= limits.patience) {
      for (const one of [batch, this.#open]) {
        one.waiter?.reject(error);
        one.waiter = undefined;
      }
    }
    this.#retry = () => {
      this.#retry = undefined;
      this.#write(batch);
    };
    this.#retryTimer = setTimeout(this.#retry, limits.retryEvery);
    this.#tellEmptied();
  }

  #finish(batch: Batch<Change>): void {
    this.#writing = undefined;
    this.#waitingBytes -= batch.bytes;
  }

  /** The next batch goes at once when somebody waits for it: it has gathered while the one before was written. */
  #continue(): void {
    if (this.#open.waiter !== undefined || this.#emptied.length > 0 || this.#isClosed) this.#proceed();
    else if (this.#timer === undefined) this.#startTimer(false);
  }

  #tellEmptied(): void {
    for (const resolve of this.#emptied.splice(0)) resolve();
  }
}
