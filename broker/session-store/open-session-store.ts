/** Opens the session store: loads the file of an earlier run into memory, and starts the thread that writes changes. */

import type { Logger } from 'pino';
import {
  createSessionCommits,
  createSessionWriter,
  SESSION_COMMIT_LIMITS,
  type SessionCommitLimits,
} from './session-commits.ts';
import { openSessionFile } from './session-file.ts';
import { readSessionRows, type SessionRows } from './session-rows.ts';
import { SessionStore, type SessionStoreLimits } from './session-store.ts';

export interface SessionStoreOptions {
  /** Path of the database; created with mode 0600 when it does not exist. Its directory must exist. */
  readonly file: string;
  /** `inspectSessionFile()` has read every page of the file. */
  readonly isInspected?: boolean;
  readonly limits?: Partial<SessionStoreLimits>;
  readonly commits?: Partial<SessionCommitLimits>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Numbers messages of an earlier run, as the broker numbers those of this run. By default they are negative. */
  readonly numberOf?: () => number;
  readonly log: Logger;
}

export const SESSION_STORE_LIMITS: SessionStoreLimits = {
  queuedMessages: 1_000,
  queuedBytes: 1_048_576,
  storedBytes: 64 * 1_048_576,
};

export interface OpenSessionStore {
  readonly store: SessionStore;
  /** Writes all pending changes. Idempotent. */
  close(): Promise<void>;
}

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export async function openSessionStore(options: SessionStoreOptions): Promise<OpenSessionStore> {
  const { file, log, now, numberOf = negativeNumbers() } = options;
  const rows = readRows(file, options.isInspected === true);
  const writer = createSessionWriter(file, log);
  const commits = createSessionCommits({
    limits: { ...SESSION_COMMIT_LIMITS, ...options.commits },
    now,
    log,
    beforeCommit: () => store.pushDeferred(),
    write: (changes) => writer.call('write', changes),
  });
  const limits = { ...SESSION_STORE_LIMITS, ...options.limits };
  const store: SessionStore = new SessionStore(limits, commits, rows, now, numberOf);
  let closing: Promise<void> | undefined;

  return {
    store,
    close() {
      closing ??= commits
        .close()
        .then(() => writer.close())
        .catch((error: unknown) => log.error({ err: error }, 'sessions were not closed'));
      return closing;
    },
  };
}

function readRows(file: string, isInspected: boolean): SessionRows {
  const database = openSessionFile(file, isInspected ? 'header' : 'every page');
  try {
    return readSessionRows(database);
  } finally {
    database.close();
  }
}

/** They grow, and are different from the numbers of this run, which are positive. */
function negativeNumbers(): () => number {
  let last = -(2 ** 30);
  return () => {
    last += 1;
    return last;
  };
}
