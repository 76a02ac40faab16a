/** The group commit of session changes: which failures pass, how long a client waits, and what is logged. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { GroupCommit, type GroupCommitLimits, WorkerClient } from '../../storage/index.ts';
import type { SessionChange } from './session-changes.ts';

export type SessionCommits = GroupCommit<SessionChange>;

/** What the session store needs of its commits. */
export type SessionChangeLog = Pick<
  SessionCommits,
  'add' | 'schedule' | 'durable' | 'hasRoomFor' | 'commits' | 'queuedBytes'
>;

/** A batch is not bounded: all changes of one turn of the event loop are in one transaction. */
export type SessionCommitLimits = Omit<GroupCommitLimits, 'batchEntries' | 'batchBytes'>;

export const SESSION_COMMIT_LIMITS: SessionCommitLimits = {
  window: 2,
  idleWindow: 50,
  queuedBytes: 16 * 1_048_576,
  patience: 30_000,
  retryEvery: 250,
};

export interface SessionCommitOptions<Change = SessionChange> {
  readonly limits: SessionCommitLimits;
  readonly now: () => number;
  readonly log: Logger;
  /** Adds the changes that were left for later. */
  beforeCommit?(): void;
  /** Resolves when all are on disk; rejects when none is, or nobody knows. Every change may be written again. */
  write(changes: readonly Change[]): Promise<void>;
}

/** The disk, or the directory, can't take it now and may later. */
const TRANSIENT: ReadonlySet<string> = new Set(['unavailable', 'data_directory_unusable']);

export function createSessionCommits<Change = SessionChange>({
  log,
  ...options
}: SessionCommitOptions<Change>): GroupCommit<Change> {
  return new GroupCommit({
    ...options,
    isTransient: (error) => error instanceof Problem && TRANSIENT.has(error.code),
    // A deletion that was discarded would undo itself at the next start.
    afterPatience: 'retry',
    held: (_, error) => log.warn({ err: error }, 'sessions can not be stored now'),
    resumed: () => log.info('sessions are stored again'),
    discarded: (changes, _, error) => {
      log.error({ err: error, changes: changes.length }, 'changes of sessions were not stored');
    },
  });
}

/** The worker starts with the first change: a fleet without persistent sessions needs none. */
export function createSessionWriter(file: string, log: Logger): WorkerClient {
  return new WorkerClient({
    program: new URL('./writer-worker.ts', import.meta.url),
    name: 'the session store',
    opening: file,
    endedCode: 'unavailable',
    ended: (error) => log.error({ err: error }, 'the worker that stores sessions ended'),
  });
}
