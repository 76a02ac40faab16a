/**
 * A process beside the server that opens every database below a directory, reads it and closes it again, with the rights to
 * write: one that takes itself for the last removes the log. SQLite before 3.51 (the sqlite3 shell of Debian 12) goes by the
 * POSIX locks of the others alone, so the shell visits too where there is one. Arguments: the directory, and `once` or
 * `until stopped`. Prints how many visits it made.
 */

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';

const [directory = '', howLong = 'once'] = process.argv.slice(2);
const QUERY = 'SELECT count(*) FROM sqlite_schema';
const hasShell = spawnSync('sqlite3', ['-version']).status === 0;

function visit(file: string): void {
  const database = new Database(file, { fileMustExist: true, timeout: 1000 });
  try {
    database.prepare(QUERY).get();
  } finally {
    database.close();
  }
  if (!hasShell) return;
  const { status, stderr } = spawnSync('sqlite3', ['-cmd', '.timeout 1000', file, QUERY], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`sqlite3 ${file}: ${stderr}`);
}

let visits = 0;
let isStopped = false;
process.on('SIGTERM', () => {
  isStopped = true;
});
do {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((one) => one.endsWith('.db'))) {
    try {
      visit(join(directory, name));
      visits += 1;
    } catch (error) {
      // The server removes a segment, or is killed amid making one.
      if (howLong === 'once') throw error;
    }
  }
  await new Promise((resolve) => setImmediate(resolve));
} while (howLong !== 'once' && !isStopped);
process.stdout.write(`${visits}\n`);
