/** Which locks a process holds on the databases that it has open, as the kernel says (Linux). */

import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

export interface OpenDatabases {
  /** Paths of databases and their -shm files that the process has open. */
  readonly open: readonly string[];
  /** Those of them without a lock: another process may take itself for the only one there. */
  readonly unlocked: readonly string[];
}

/** Every connection holds a shared lock on a database in WAL mode, and one on its -shm file, from its first look on. */
export function openDatabasesOf(pid: number): OpenDatabases {
  const locked = new Set<string>();
  for (const line of readFileSync('/proc/locks', 'utf8').split('\n')) {
    const [, , , , owner, file] = line.split(/\s+/);
    if (Number(owner) === pid) locked.add(file?.split(':').at(-1) as string);
  }
  const open = new Map<string, string>();
  for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
    const link = `/proc/${pid}/fd/${descriptor}`;
    try {
      const path = readlinkSync(link);
      if (/\.db(-shm)?$/.test(path)) open.set(path, String(statSync(link).ino));
    } catch {
      // It was closed meanwhile.
    }
  }
  return {
    open: [...open.keys()].sort(),
    unlocked: [...open].filter(([, inode]) => !locked.has(inode)).map(([path]) => path),
  };
}
