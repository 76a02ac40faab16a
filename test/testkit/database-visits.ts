/** Starts `database-visitor.ts`: another process that opens and closes every database of a directory. */

import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { collect, ended } from './child-process.ts';

const VISITOR = fileURLToPath(new URL('./database-visitor.ts', import.meta.url));

/** Visits each once. Throws what the visitor met. */
export function visitOnce(directory: string): void {
  const { status, stderr } = spawnSync(process.execPath, [VISITOR, directory, 'once'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the visitor ended with ${status}: ${stderr}`);
}

/** Visits them all the time. `end()` says how many visits there were. */
export function visitDatabases(directory: string): { end(): Promise<number> } {
  const child = spawn(process.execPath, [VISITOR, directory, 'until stopped'], { timeout: 3_600_000 });
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
  return {
    end: async () => {
      child.kill('SIGTERM');
      const found = await ended(child, stdout, stderr);
      if (found.code !== 0) throw new Error(`the visitor ended with ${found.code}: ${found.stderr}`);
      return Number(found.stdout);
    },
  };
}
