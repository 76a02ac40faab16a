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
  const [first, ...others] = tiedToParent([program, ...args], atParentsDeath);
  return spawn(first, others, { ...rest, detached: true });
}

/** A command whose process gets the signal when the one that starts it ends, in any way; where the system cannot do that, the command itself. */
export function tiedToParent(
  command: readonly [string, ...string[]],
  signal: NodeJS.Signals,
): readonly [string, ...string[]] {
  return existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', signal.replace('SIG', ''), ...command] : command;
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
