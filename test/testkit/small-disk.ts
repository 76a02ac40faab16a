/** A file system of a few bytes, unmounted at the end of the test. Needs the right to mount. */

import { spawnSync } from 'node:child_process';
import { onTestFinished } from 'vitest';
import { temporaryDirectory } from './temporary.ts';

/** Where it is mounted, or undefined where this user may not have one. */
export function smallDisk(bytes: number): string | undefined {
  const directory = temporaryDirectory();
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', directory]);
  if (mounted.status !== 0) return undefined;
  onTestFinished(() => {
    spawnSync('umount', ['-l', directory]);
  });
  return directory;
}
