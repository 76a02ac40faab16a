/** PostgreSQL's programs as they are installed on this machine, and the user who may run its server. */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Problem, parseDecimal } from '@rollcall/protocol';

/** Where Debian installs the programs of each version, outside the path. */
const VERSIONS = '/usr/lib/postgresql';
const OLDEST_VERSION = 15;

export interface ProcessOwner {
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * The directory of the newest version, 15 at least; without one in Debian's place, that of the first `postgres` in the path. Throws
 * Problem `usage` that names the package when there is none.
 */
export function findPostgres(path = '', versions = VERSIONS): string {
  const newestFirst = (existsSync(versions) ? readdirSync(versions) : [])
    .map((name) => parseDecimal(name, OLDEST_VERSION, 1_000))
    .filter((version) => version !== undefined)
    .toSorted((one, other) => other - one)
    .map((version) => join(versions, `${version}`, 'bin'));
  const found = [...newestFirst, ...path.split(delimiter).filter(Boolean)].find((directory) =>
    existsSync(join(directory, 'postgres')),
  );
  if (found !== undefined) return found;
  throw new Problem('usage', {
    detail: `several nodes need PostgreSQL ${OLDEST_VERSION} or newer, and its server is not installed`,
    hint: 'on Debian and Ubuntu: apt-get install postgresql',
  });
}

/** PostgreSQL refuses to run as root: then it is `postgres`, or `nobody`. Otherwise the user of this process. */
export function postgresOwner(): ProcessOwner {
  if (process.getuid?.() !== 0) return {};
  for (const user of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) => idOf(flag, user));
    if (uid !== undefined && gid !== undefined) return { uid, gid };
  }
  throw new Problem('usage', {
    detail: 'PostgreSQL does not run as root, and this machine has neither the user postgres nor nobody',
    hint: 'run the demo as another user than root',
  });
}

function idOf(flag: string, user: string): number | undefined {
  try {
    const text = execFileSync('id', [flag, user], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return parseDecimal(text.trim(), 1);
  } catch {
    return undefined;
  }
}
