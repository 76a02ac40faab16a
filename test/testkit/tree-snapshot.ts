/** What lies below a directory: contents, times and modes, to see that nothing of it was touched. */

import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** By path; of a file its hash, of everything its mode and when it was last changed, to the nanosecond. */
export function treeSnapshot(directory: string): Record<string, string> {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  return Object.fromEntries(
    ['.', ...names].map((name) => {
      const path = join(directory, name);
      const stats = lstatSync(path, { bigint: true });
      // Reading a lock file would end the lock of a test that holds it (POSIX).
      const content = stats.isFile() && !name.endsWith('.lock') ? hashOf(path) : '';
      return [name, `${stats.mode.toString(8)} ${stats.mtimeNs} ${stats.ino} ${content}`];
    }),
  );
}

export function hashOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
