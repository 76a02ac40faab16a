/** Checks of the machine that need no server: owner and modes of files, free disk, open files, the clock. They change nothing. */

import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { asProblem } from '@rollcall/protocol';
import type { Finding } from '../../console/index.ts';
import { diskSpaceIn } from '../../storage/index.ts';
import { expectPlausibleClock } from '../clock.ts';
import { nodeSecretsIn } from '../cluster/node-directory.ts';
import type { DataDirectory } from '../data-directory.ts';
import { descriptorLimit } from '../descriptor-monitor.ts';

type KeyFiles = Pick<DataDirectory, 'path' | 'authority' | 'operatorKeyFile' | 'metricsKeyFile'>;

const OTHERS = 0o077;
const GIB = 1_073_741_824;
/** Below this part of the disk, or these bytes, an operator should act. */
const FREE_PART = 0.1;
const FREE_BYTES = 2 * GIB;
/** The default of many systems is 1,024: half a thousand devices. */
const DESCRIPTORS_WANTED = 4_096;
const DESCRIPTORS_USED = 0.8;

/** `euid`: the user that runs the server; undefined on a system without users. */
export function directoryFinding(path: string, euid = process.geteuid?.()): Finding {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    return failed('data', `${path} does not exist`, 'rollcall serve creates it; or name another with --data DIR');
  }
  const mode = found.mode & 0o777;
  if (euid !== undefined && found.uid !== euid) {
    return failed(
      'data',
      `${path} belongs to user ${found.uid}, this is user ${euid}`,
      'run this as the user of the server',
    );
  }
  if ((mode & OTHERS) !== 0) {
    return failed('data', `${path} has mode ${octal(mode)}: others may enter it`, `chmod 700 ${path}`);
  }
  return ok('data', `${path}, mode ${octal(mode)}`);
}

/** Private keys, the keys of the console, and what a host got that joined: nobody but their owner may read them. */
export function keyFilesFinding({ path, authority, operatorKeyFile, metricsKeyFile }: KeyFiles): Finding {
  const files = [
    ...namesIn(authority)
      .filter((name) => name.endsWith('.key'))
      .map((name) => join(authority, name)),
    operatorKeyFile,
    metricsKeyFile,
    ...nodeSecretsIn(path),
  ];
  const present = files.flatMap((file) => {
    const found = lstatSync(file, { throwIfNoEntry: false });
    return found === undefined ? [] : [{ file, mode: found.mode & 0o777 }];
  });
  const exposed = present.find(({ mode }) => (mode & OTHERS) !== 0);
  if (exposed === undefined) return ok('keys', `${present.length} files, for their owner only`);
  const found = `${exposed.file} has mode ${octal(exposed.mode)}: others can read it`;
  return failed('keys', found, `chmod 600 ${exposed.file}; replace the key if others may have read it (docs/ca.md)`);
}

export async function diskFinding(path: string): Promise<Finding> {
  const { free, size } = await diskSpaceIn(path);
  const found = `${gib(free)} GiB of ${gib(size)} GiB are free`;
  if (free >= Math.min(FREE_BYTES, size * FREE_PART)) return ok('disk', found);
  return warning('disk', found, 'free space, or set telemetry.retention; below the floor no telemetry is stored');
}

/** Of this process. A server that does not run may be started with another limit, and has none open. */
export function openFilesFinding(isServer: boolean): Finding {
  const limit = descriptorLimit();
  const used = isServer ? openDescriptors() : undefined;
  if (limit === undefined)
    return { check: 'limits', outcome: 'skipped', found: 'this system does not tell the limit of open files' };
  const found = isServer
    ? `${used ?? '?'} of ${limit} open files`
    : `a server that starts from here may have ${limit} open files`;
  const fix = 'raise the limit of open files (ulimit -n, LimitNOFILE): each device needs one';
  if (used !== undefined && used > limit * DESCRIPTORS_USED) return failed('limits', found, fix);
  return limit < DESCRIPTORS_WANTED ? warning('limits', found, fix) : ok('limits', found);
}

export function clockFinding(now: number): Finding {
  try {
    expectPlausibleClock(now);
    return ok('clock', new Date(now).toISOString());
  } catch (error) {
    return problemFinding('clock', error);
  }
}

/** A Problem as a finding: its reason and its hint. */
export function problemFinding(check: string, error: unknown): Finding {
  const { message, hint } = asProblem(error);
  return failed(check, message, hint ?? 'docs/errors.md describes the code');
}

export function ok(check: string, found: string): Finding {
  return { check, outcome: 'ok', found };
}

export function warning(check: string, found: string, fix: string): Finding {
  return { check, outcome: 'warning', found, fix };
}

export function failed(check: string, found: string, fix: string): Finding {
  return { check, outcome: 'failed', found, fix };
}

function openDescriptors(): number | undefined {
  const names = namesIn('/proc/self/fd');
  return names.length === 0 ? undefined : names.length;
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function octal(mode: number): string {
  return `0${mode.toString(8)}`;
}

function gib(bytes: number): string {
  return (bytes / GIB).toFixed(1);
}
