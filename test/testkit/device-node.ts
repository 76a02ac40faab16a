/** The Node that devices have, for what runs on them. */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Path of the machine's own Node when it is as old as those of devices (20 to 22), or of the one that runs this test. */
export function deviceNode(): string {
  const candidate = '/usr/bin/node';
  if (!existsSync(candidate)) return process.execPath;
  const major = Number(/^v(\d+)/.exec(execFileSync(candidate, ['--version'], { encoding: 'utf8' }))?.[1]);
  return major >= 20 && major <= 22 ? candidate : process.execPath;
}
