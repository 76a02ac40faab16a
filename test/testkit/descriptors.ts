/** Descriptors that misbehave, to give to a program as standard output or standard error. Closed with the test. */

import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { temporaryDirectory } from './temporary.ts';

export function openDuringTest(path: string, flags: number): number {
  const fd = openSync(path, flags);
  onTestFinished(() => closeSync(fd));
  return fd;
}

/** Every write fails with ENOSPC. */
export function fullDisk(): number {
  return openDuringTest('/dev/full', constants.O_WRONLY);
}

function namedPipe(): string {
  const path = join(temporaryDirectory(), 'pipe');
  execFileSync('mkfifo', [path]);
  return path;
}

/** A pipe that takes nothing more, because nobody reads it. */
export function fullPipe(): { readonly writeEnd: number; readonly readEnd: number } {
  const path = namedPipe();
  const readEnd = openDuringTest(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const filler = openDuringTest(path, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    for (;;) writeSync(filler, Buffer.alloc(4_096, '#'));
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe('EAGAIN');
  }
  return { writeEnd: openDuringTest(path, constants.O_WRONLY), readEnd };
}

/** Every write fails with EPIPE. */
export function pipeWithoutReader(): number {
  const path = namedPipe();
  const readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writeEnd = openDuringTest(path, constants.O_WRONLY);
  closeSync(readEnd);
  return writeEnd;
}
