/** Processes that end with this one, however it ends, and get no signal of its terminal. */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';

/** Of util-linux. Where it is missing, a child outlives a parent that is killed by SIGKILL. */
const SETPRIV = '/usr/bin/setpriv';

export interface ChildOptions extends Pick<SpawnOptions, 'cwd' | 'env' | 'gid' | 'stdio' | 'uid'> {
  /** What it gets when this process ends without having ended it. */
  readonly atParentsDeath: NodeJS.Signals;
}

/** In a process group of its own: Ctrl-C in a terminal reaches the whole group of this process. */
export function spawnChild(program: string, args: readonly string[], options: ChildOptions): ChildProcess {
  const { atParentsDeath, ...rest } = options;
  const isTied = existsSync(SETPRIV);
  const command = isTied
    ? [SETPRIV, '--pdeathsig', atParentsDeath.replace('SIG', ''), program, ...args]
    : [program, ...args];
  return spawn(command[0] as string, command.slice(1), { ...rest, detached: true });
}

export function isRunning(child: ChildProcess | undefined): child is ChildProcess {
  return child !== undefined && child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** Sends the signal and waits for the end; after `patienceMs` SIGKILL follows. At once when it does not run. */
export async function endChild(
  child: ChildProcess | undefined,
  signal: NodeJS.Signals,
  patienceMs?: number,
): Promise<void> {
  if (!isRunning(child)) return;
  const ended = once(child, 'exit');
  // A stopped process would get it only when it goes on.
  child.kill(signal);
  child.kill('SIGCONT');
  const timer = patienceMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), patienceMs);
  await ended;
  clearTimeout(timer);
}

/** Whether SIGSTOP stopped it. False where the system has no /proc. */
export function isStopped(pid: number): boolean {
  try {
    return /^\d+ \(.*\) T /s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
