/**
 * Preloaded into each Node server: SIGUSR2 means "keep only what you need", SIGWINCH "begin to watch your event loop", and the
 * next SIGWINCH "write down how long it was held up" into the directory that the query of this module's URL names.
 */

import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Milliseconds. */
export interface LoopDelay {
  readonly p99: number;
  readonly max: number;
}

/** A timer of so many milliseconds is watched; what it is late is the delay. */
const RESOLUTION_MS = 1;

const directory = new URL(import.meta.url).searchParams.get('directory');
let watched: ReturnType<typeof monitorEventLoopDelay> | undefined;

process.on('SIGUSR2', () => {
  globalThis.gc?.();
  globalThis.gc?.();
});

process.on('SIGWINCH', () => {
  if (watched === undefined) {
    watched = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    watched.enable();
    return;
  }
  watched.disable();
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const delay: LoopDelay = { p99: late(watched.percentile(99)), max: late(watched.max) };
  watched = undefined;
  if (directory === null) return;
  const file = loopDelayFile(directory, process.pid);
  writeFileSync(`${file}.part`, JSON.stringify(delay));
  renameSync(`${file}.part`, file);
});

export function loopDelayFile(where: string, pid: number): string {
  return join(where, `loop-${pid}.json`);
}
