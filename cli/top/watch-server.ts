/** Reads a server once per interval, and continues when it was away. */

import { setTimeout as delay } from 'node:timers/promises';
import { asProblem, Problem } from '@rollcall/protocol';
import type { ConsoleClient } from '../../console/client.ts';
import { NewestRefusals } from './newest-refusals.ts';
import { readServer, type ServerReading, type ServerSnapshot, snapshotOf } from './server-snapshot.ts';

export interface WatchOptions {
  /** Milliseconds. */
  readonly interval: number;
  readonly signal: AbortSignal;
}

export interface Watcher {
  onSnapshot(snapshot: ServerSnapshot): void | Promise<void>;
  /** Once per interval in which the server does not answer. The reason is one sentence. */
  onAbsence(reason: string): void;
}

/** Statuses of problems that another attempt does not solve: the key, the role, the request. */
const PERMANENT: ReadonlySet<number> = new Set([400, 401, 403, 404]);

/** One snapshot, with rates over one interval; undefined when the signal ends it before. Throws Problem. */
export async function readOnce(server: ConsoleClient, options: WatchOptions): Promise<ServerSnapshot | undefined> {
  const before = await readServer(server);
  const refusals = new NewestRefusals(server);
  await refusals.read();
  if (!(await pause(options))) return undefined;
  return snapshotOf(await readServer(server), before, refusals.list());
}

/**
 * Watches until the signal. Throws Problem when the server cannot be read at first, when it refuses the caller, and when it is
 * away at the end.
 */
export async function watchServer(server: ConsoleClient, watcher: Watcher, options: WatchOptions): Promise<void> {
  const { signal } = options;
  let reading = await readServer(server);
  const refusals = new NewestRefusals(server);
  await refusals.read();
  const following = keepFollowing(refusals, options);
  let before: ServerReading | undefined;
  let absence: Problem | undefined;
  while (!signal.aborted) {
    if (absence === undefined) await watcher.onSnapshot(snapshotOf(reading, before, refusals.list()));
    if (!(await pause(options))) break;
    const pending = readServer(server).catch(asProblem);
    while (!(await isSettledAfter(pending, options))) {
      if (signal.aborted) break;
      absence = new Problem('unavailable', { detail: 'the server does not answer' });
      watcher.onAbsence(absence.message);
    }
    if (signal.aborted) break;
    const found = await pending;
    if ('metrics' in found) [before, reading, absence] = [reading, found, undefined];
    else if (PERMANENT.has(found.status)) throw found;
    else {
      absence = found;
      watcher.onAbsence(found.message);
    }
  }
  await following;
  if (absence !== undefined) throw absence;
}

/** Errors are those that reading the server reports. */
async function keepFollowing(refusals: NewestRefusals, options: WatchOptions): Promise<void> {
  do await refusals.follow(options.signal).catch(() => {});
  while (await pause(options));
}

/** False when the signal ended the wait. */
async function pause({ interval, signal }: WatchOptions): Promise<boolean> {
  return await delay(interval, true, { signal }).catch(() => false);
}

/** Waits for one interval at most. */
async function isSettledAfter(promise: Promise<unknown>, { interval, signal }: WatchOptions): Promise<boolean> {
  const settled = new AbortController();
  try {
    return await Promise.race([
      promise.then(() => true),
      pause({ interval, signal: AbortSignal.any([signal, settled.signal]) }).then(() => false),
    ]);
  } finally {
    settled.abort();
  }
}
