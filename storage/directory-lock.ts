/**
 * One process at a time in a data directory. The lock is an SQLite transaction on a file of its own: the kernel ends it with
 * the process, whatever ends that, and SQLite refuses a second one within a process as well. Opens no descriptor of the lock
 * file itself, because closing that would end the lock (`database-file.ts`). The number of the process stands in a second file,
 * for messages alone. Neither file is removed with the lock: who has just opened it would lock a file without a name.
 */

import { closeSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';
import Database from 'better-sqlite3';
/** Names of the files in the directory. */
export const LOCK_FILE = 'server.lock';
export const HOLDER_FILE = 'server.pid';

export interface DirectoryLock {
  /** Idempotent. `movedTo`: the path of the directory, if it was renamed. */
  release(movedTo?: string): void;
}

const GROUP_AND_OTHERS = 0o077;

/** Of two that come at once one gives way to the other; neither waits for one that holds the lock for long. */
const CONTENTION_MS = 1000;

/**
 * Expects a directory that only its owner may enter, and locks it for this process. Throws Problem `data_directory_busy` or
 * `data_directory_unusable`; then nothing in it was changed.
 */
export function lockDirectory(path: string): DirectoryLock {
  const directory = resolve(path);
  const file = join(directory, LOCK_FILE);
  let database: Database.Database | undefined;
  try {
    expectPrivate(directory);
    createLockFile(file);
    database = new Database(file, { fileMustExist: true, timeout: CONTENTION_MS });
    database.pragma('journal_mode = MEMORY'); // no second file beside it
    database.exec('BEGIN EXCLUSIVE');
    writeFileSync(join(directory, HOLDER_FILE), `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    database?.close();
    throw lockingProblem(error, directory);
  }
  const opened = database;
  return {
    release: (movedTo = directory) => {
      if (!opened.open) return;
      rmSync(join(movedTo, HOLDER_FILE), { force: true });
      opened.close();
    },
  };
}

/** Throws Problem `data_directory_unusable` for a directory that another user owns, or that others may enter. */
function expectPrivate(directory: string): void {
  const { mode, uid } = statSync(directory);
  const self = process.geteuid?.();
  if (self === undefined) return; // a system without such modes
  if (uid !== self) {
    throw new Problem('data_directory_unusable', {
      reason: `${directory}: expected user ${self} as its owner, found ${uid}`,
      hint: `chown -R ${self} ${quoted(directory)}, or start as user ${uid}`,
    });
  }
  if ((mode & GROUP_AND_OTHERS) === 0) return;
  throw new Problem('data_directory_unusable', {
    reason: `${directory}: expected mode 0700, found 0${(mode & 0o777).toString(8)}: others may enter it`,
    hint: `chmod 700 ${quoted(directory)}`,
  });
}

function createLockFile(file: string): void {
  try {
    // Exclusive, so that no descriptor is ever opened of a file that is locked.
    closeSync(openSync(file, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function lockingProblem(error: unknown, directory: string): unknown {
  if (error instanceof Problem) return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) {
    return new Problem('data_directory_busy', {
      reason: `${directory} is locked by ${holderOf(directory)}`,
      hint: 'stop that one, or choose another directory with --data DIR',
      cause: error,
    });
  }
  return new Problem('data_directory_unusable', {
    reason: code.startsWith('SQLITE')
      ? `${join(directory, LOCK_FILE)}: ${message}`
      : `${directory}: ${code || message}`,
    hint: 'choose another with --data DIR, or make it writable for this user',
    cause: error,
  });
}

/** It may have taken the lock just now, and not have written its number. */
function holderOf(directory: string): string {
  try {
    const text = readFileSync(join(directory, HOLDER_FILE), 'latin1');
    if (/^\d{1,10}\n$/.test(text)) return `process ${text.trim()}`;
  } catch {
    // The other process has not written it yet.
  }
  return 'another process';
}

function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
