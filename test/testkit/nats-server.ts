/** Debian's nats-server with JetStream, as a child process on a port and in a directory of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';

export interface NatsServer {
  readonly port: number;
  /** At once, as a power cut would. */
  kill(): Promise<void>;
  /** Again, on the same port with the same files. */
  start(): Promise<void>;
}

const PROGRAM = ['/usr/sbin/nats-server', '/usr/bin/nats-server', '/usr/local/bin/nats-server'].find(existsSync);

/** `options` are further arguments of the program. Killed at the end of the test. */
export async function natsServer(directory: string, options: readonly string[] = [], port = -1): Promise<NatsServer> {
  let child: ChildProcess | undefined;
  let bound = port;
  const kill = async () => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  const start = async () => {
    const ports = join(directory, 'ports');
    rmSync(ports, { recursive: true, force: true });
    const args = ['-a', '127.0.0.1', '-p', String(bound), '-js', '-sd', join(directory, 'store'), ...options];
    const started = spawn(PROGRAM as string, args, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
    child = started;
    const lines: string[] = [];
    const ready = Promise.withResolvers<void>();
    createInterface({ input: started.stderr }).on('line', (line) => {
      lines.push(line);
      const listening = /Listening for client connections on [^ ]*:(\d+)/.exec(line)?.[1];
      if (listening !== undefined) bound = Number(listening);
      if (line.includes('Server is ready')) ready.resolve();
    });
    started.once('error', ready.reject);
    started.once('exit', (code) => ready.reject(new Error(`nats-server ended with ${code}\n${lines.join('\n')}`)));
    await ready.promise;
  };
  onTestFinished(kill);
  await start();
  return {
    get port() {
      return bound;
    },
    kill,
    start,
  };
}
