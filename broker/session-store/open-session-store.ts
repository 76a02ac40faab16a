/** Opens the session store: loads the file of an earlier run into memory, and starts the thread that writes changes. */

import type { Logger } from 'pino';
import {
  createSessionCommits,
  createSessionWriter,
  SESSION_COMMIT_LIMITS,
  type SessionCommitLimits,
} from './session-commits.ts';
import { openSessionFile } from './session-file.ts';
import { readSessionRows } from './session-rows.ts';
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
  const { file, log, now } = options;
  const database = openSessionFile(file, options.isInspected === true ? 'header' : 'every page');
  let rows: ReturnType<typeof readSessionRows>;
  try {
    rows = readSessionRows(database);
  } finally {
    database.close();
  }
  const writer = createSessionWriter(file, log);
  const commits = createSessionCommits({
    limits: { ...SESSION_COMMIT_LIMITS, ...options.commits },
    now,
    log,
    beforeCommit: () => store.pushDeferred(),
    write: (changes) => writer.call('write', changes),
  });
  const store: SessionStore = new SessionStore({ ...SESSION_STORE_LIMITS, ...options.limits }, commits, rows, now);
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
