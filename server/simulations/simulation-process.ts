/**
 * One run of `rollcall simulate` as a process of its own, which starts a temporary server itself. It yields to the fleet (a lower
 * priority), has a limit of memory and of time, ends with this process, and gets none of its settings.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** Ends when the channel to this process closes. */
const PROGRAM = fileURLToPath(new URL('../../bin/child.js', import.meta.url));
const MEMORY_MIB = 512;
const TIME_LIMIT_MS = 300_000;
/** For the temporary server, its devices and its directory. */
const STOP_MS = 25_000;
const MAX_LINE = 65_536;
const MAX_OUTPUT = 4_194_304;
const ERRORS_KEPT = 4_096;
/** Nothing else: the environment of a server may contain secrets. */
const PASSED_ON = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'NODE_COMPILE_CACHE'] as const;

export interface SimulationProcess {
  /** Never rejects. `errors`: the end of its standard error. */
  readonly ended: Promise<{ readonly code: number | null; readonly errors: string }>;
  /** Asks it to end, and kills it with its server when it does not. */
  stop(): void;
  /** Kills it with its server at once. */
  kill(): void;
}

export interface SimulationOrder {
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Gets each line of standard output up to 64 KiB. */
  readonly onLine: (line: string) => void;
}

export function startSimulation({ args, environment, onLine }: SimulationOrder): SimulationProcess {
  const child = spawn(
    process.execPath,
    ['--disable-sigusr1', `--max-old-space-size=${MEMORY_MIB}`, PROGRAM, 'simulate', ...args],
    { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], detached: true, env: passedOn(environment) },
  );
  const { pid } = child;
  if (pid !== undefined) lowerPriority(pid);
  const kill = () => {
    if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    try {
      process.kill(-pid, 'SIGKILL'); // the group: its temporary server too
    } catch {
      child.kill('SIGKILL');
    }
  };
  let killing: NodeJS.Timeout | undefined;
  const stop = () => {
    child.kill('SIGTERM');
    killing ??= setTimeout(kill, STOP_MS);
  };
  const limit = setTimeout(stop, TIME_LIMIT_MS);
  limit.unref();
  readLines(child.stdout as Readable, onLine);
  let errors = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-ERRORS_KEPT);
  });
  const ended = Promise.race([
    once(child, 'close').then(([code]) => code as number | null),
    once(child, 'error').then(([error]) => {
      errors = (error as Error).message;
      return null;
    }),
  ]).then((code) => {
    clearTimeout(limit);
    clearTimeout(killing);
    return { code, errors };
  });
  return { ended, stop, kill };
}

function passedOn(environment: SimulationOrder['environment']): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const name of PASSED_ON) {
    const value = environment[name];
    if (value !== undefined) passed[name] = value;
  }
  return passed;
}

function lowerPriority(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch {
    // It has ended already, or the system has no priorities.
  }
}

function readLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  let read = 0;
  stream.setEncoding('utf8').on('data', (text: string) => {
    read += text.length;
    if (read > MAX_OUTPUT) return;
    const lines = (rest + text).split('\n');
    rest = (lines.pop() ?? '').slice(0, MAX_LINE);
    for (const line of lines) if (line.length <= MAX_LINE) onLine(line);
  });
}
