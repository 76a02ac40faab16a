/**
 * Preloaded into each Node server: SIGUSR2 collects garbage, SIGWINCH starts to measure the event loop, and the
 * next SIGWINCH writes its delays into the directory that ROLLCALL_BENCH_DIRECTORY names.
 */

import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LoopWatch } from './loop-watch.ts';

const { ROLLCALL_BENCH_DIRECTORY: directory } = process.env;
let watched: LoopWatch | undefined;

process.on('SIGUSR2', () => {
  globalThis.gc?.();
  globalThis.gc?.();
});

process.on('SIGWINCH', () => {
  if (watched === undefined) {
    watched = new LoopWatch();
    return;
  }
  const delay = watched.stop();
  watched = undefined;
  if (directory === undefined) return;
  const file = loopDelayFile(directory, process.pid);
  writeFileSync(`${file}.part`, JSON.stringify(delay));
  renameSync(`${file}.part`, file);
});

export function loopDelayFile(where: string, pid: number): string {
  return join(where, `loop-${pid}.json`);
}
