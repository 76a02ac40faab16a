/** What the owner of a group commit says of it: its limits, how a batch is written, and what follows. */

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
  /**
   * Batches that are written at once; 1 when left out. One that is not full is written beside others once it has gathered for a window
   * more for each of them. They are reported in their order: one that is stored waits for those before it, and one that is discarded takes
   * those with it that were written after it.
   */
  readonly inFlight?: number;
  /** Milliseconds that waiters wait while storage is full, busy or failing; and between two tries. */
  readonly patience: number;
  readonly retryEvery: number;
}

/** Called synchronously; a handler must not throw. */
export interface GroupCommitHandlers<Entry, Waiter, Result> {
  /** `waiters` have the indices of their entries. */
  committed?(entries: readonly Entry[], waiters: readonly (Waiter | undefined)[], result: Result): void;
  /** None of them is stored, and none will be; with several in flight it is the owner who takes back what was. */
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
