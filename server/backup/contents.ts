/**
 * The files of a data directory that a backup contains, in the order of their copy. A file is copied before the files that it
 * refers to, so that no reference in a backup is dangling: positions of sinks before journals (within a folder, small files before
 * databases), journals and sessions before the registry of their devices, the registry before the keys of its authorities.
 */

import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** By the first segment of the path. Files that are not listed are copied first. */
const COPY_ORDER = ['sinks', 'events', 'telemetry', 'sessions.db', 'registry.db'];

/** Only stored encrypted. */
const SECRET_ENTRIES = ['ca', 'operator.key', 'metrics.key'];

/** Created at each start, or part of a database that is copied as a snapshot. */
const EXCLUDED = /(-wal|-shm|-journal|\.new|\.sock|\.lock|\.pid|\.partial)$/;

export interface Contents {
  /** Paths relative to the directory, with slashes. */
  readonly files: readonly string[];
  readonly secrets: readonly string[];
}

export function contentsOf(directory: string): Contents {
  const all = filesIn(directory, '');
  const isSecret = (path: string) => SECRET_ENTRIES.includes(topOf(path));
  const rank = (path: string) => COPY_ORDER.indexOf(topOf(path)) * 2 + (path.endsWith('.db') ? 1 : 0);
  const files = all.filter((path) => !isSecret(path)).sort((one, other) => rank(one) - rank(other));
  return { files, secrets: all.filter(isSecret) };
}

function topOf(path: string): string {
  return path.split('/', 1)[0] as string;
}

function filesIn(directory: string, path: string): string[] {
  const found: string[] = [];
  for (const name of readdirSync(join(directory, path)).sort()) {
    const inner = path === '' ? name : `${path}/${name}`;
    const stats = lstatSync(join(directory, inner), { throwIfNoEntry: false });
    if (stats?.isDirectory()) found.push(...filesIn(directory, inner));
    else if (stats?.isFile() && !EXCLUDED.test(name)) found.push(inner);
  }
  return found;
}
