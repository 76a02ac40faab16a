/** Debian's PgBouncer in front of a PostgreSQL, as the user `postgres` when the test runs as root. Ended with its test. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { freePort, type PostgresServer, postgresOwner } from './postgres-server.ts';

const PROGRAM = '/usr/sbin/pgbouncer';

export interface PgBouncer {
  readonly port: number;
}

/** With its own defaults: of startup parameters it takes those that PostgreSQL reports. */
export async function pgbouncer(server: PostgresServer, mode: 'session' | 'transaction'): Promise<PgBouncer> {
  const who = postgresOwner();
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-pgbouncer-'));
  const port = await freePort();
  const file = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (who.uid !== undefined) chownSync(path, who.uid, who.gid as number);
    return path;
  };
  const users = file('users.txt', `"${server.user}" "${server.password}"\n`);
  const settings = file(
    'pgbouncer.ini',
    `[databases]
* = host=127.0.0.1 port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = ${mode}
default_pool_size = 3
`,
  );
  if (who.uid !== undefined) chownSync(directory, who.uid, who.gid as number);
  const child = spawn(PROGRAM, [settings], { ...who, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
  onTestFinished(async () => {
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    child.kill('SIGKILL');
    await ended;
    rmSync(directory, { recursive: true, force: true });
  });
  const lines: string[] = [];
  const ready = Promise.withResolvers<void>();
  createInterface({ input: child.stderr }).on('line', (line) => {
    lines.push(line);
    if (line.includes('process up')) ready.resolve();
  });
  child.once('error', ready.reject);
  child.once('exit', (code) => ready.reject(new Error(`pgbouncer ended with ${code}\n${lines.join('\n')}`)));
  await ready.promise;
  return { port };
}
