/**
 * A machine to install onto: a root file system of its own, with this machine's /usr read-only below it and everything
 * else empty, entered by a mount namespace and chroot. For root on Linux; the network is this machine's.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Ended } from './child-process.ts';
import { temporaryDirectory } from './temporary.ts';

export interface FreshRoot {
  /** Of the root file system, seen from outside. */
  readonly path: string;
  /** What enters it, before a program and its arguments. */
  readonly entrance: readonly string[];
  /** Starts a program inside, killed with its children at the end of the test. */
  start(argv: readonly string[], environment?: Readonly<Record<string, string>>): ChildProcess;
  /** Runs it to its end. It is killed after 60 seconds. */
  run(argv: readonly string[], environment?: Readonly<Record<string, string>>): Promise<Ended>;
}

/** Whether this machine lets us make one. */
export function canEnterRoots(): boolean {
  return process.platform === 'linux' && spawnSync('unshare', ['--mount', '--pid', '--fork', 'true']).status === 0;
}

const ENTER = `
set -e
cd "$1"; shift
mount --bind -o ro /usr usr
mount --bind local usr/local
mount --bind /dev dev
mount -t proc proc proc
exec chroot . "$@"
`;

export function freshRoot(): FreshRoot {
  const path = temporaryDirectory();
  chmodSync(path, 0o755); // the root of a machine is everyone's to enter
  for (const name of ['usr', 'local/bin', 'etc', 'var/lib', 'run', 'tmp', 'proc', 'dev', 'root', 'opt']) {
    mkdirSync(join(path, name), { recursive: true });
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(path, name));
  writeFileSync(join(path, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nagent:x:4711:4711::/:/bin/sh\n');
  writeFileSync(join(path, 'etc/hosts'), '127.0.0.1 localhost\n');
  const entrance = ['unshare', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', ENTER, 'sh', path];
  const start: FreshRoot['start'] = (argv, environment = {}) => {
    const [program = '', ...args] = [...entrance, ...argv];
    const child = spawn(program, args, {
      env: { PATH: '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...environment },
    });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    return child;
  };
  return {
    path,
    entrance,
    start,
    run: async (argv, environment) => {
      const child = start(argv, environment);
      const texts = { stdout: '', stderr: '' };
      for (const name of ['stdout', 'stderr'] as const) {
        child[name]?.on('data', (chunk: Buffer) => {
          texts[name] += chunk.toString();
        });
      }
      child.stdin?.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
      await once(child, 'close');
      clearTimeout(timer);
      return { code: child.exitCode, signal: child.signalCode, ...texts };
    },
  };
}
