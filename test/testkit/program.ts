/** The program itself, as its users start it: a child process with arguments, an exit code and two streams. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { collect, type Ended, ended } from './child-process.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/rollcall', import.meta.url));
const COMMAND_TIMEOUT_MS = 30_000;

export interface ProgramOptions {
  readonly stdin?: string;
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Descriptors that it gets in place of pipes. */
  readonly stdout?: number;
  readonly stderr?: number;
  /** The Node that runs bin/rollcall, in place of the one that runs this test. */
  readonly node?: string;
  /** A program that starts others, and its arguments: `prlimit --nofile=64`. */
  readonly below?: readonly string[];
}

/** Runs one command to its end. It is killed after 30 seconds. */
export async function rollcall(args: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
  const child = start(args, options);
  child.stdin?.end(options.stdin ?? '');
  return ended(child, collect(child.stdout), collect(child.stderr));
}

export interface RunningServer {
  readonly pid: number;
  readonly ready: {
    readonly enrollUrl: string;
    readonly mqttUrl: string;
    readonly consoleUrl: string;
    readonly trustBundle: string;
    readonly socket: string;
  };
  /** What it logged so far. */
  log(): string;
  /** Resolves when it has logged this text. */
  untilLogged(text: string): Promise<void>;
  /** Reads its log no further, as a reader that has stalled, until its end is waited for. */
  pauseLog(): void;
  /** Sends the signal and waits for the end. Called without having ended before, it is killed with the test run. */
  end(signal: NodeJS.Signals): Promise<Ended>;
}

/** Starts `rollcall serve` on free ports and waits until it is ready. Rejects with what it said when it isn't. */
export async function serve(
  data: string,
  args: readonly string[] = [],
  options: ProgramOptions = {},
): Promise<RunningServer> {
  const ports = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0'];
  const child = start(['serve', '--data', data, '--json', ...ports, ...args], options, 600_000);
  child.stdin?.end();
  const stderr = collect(child.stderr);
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const first = await Promise.race([
    once(lines, 'line') as Promise<[string]>,
    once(child, 'exit').then(([code]) => {
      throw new Error(`rollcall serve ended with ${code}: ${stderr()}`);
    }),
  ]);
  const ready = JSON.parse(first[0]) as RunningServer['ready'] & { readonly event: string };
  if (ready.event !== 'ready') throw new Error(`expected the ready line, found ${first[0]}`);
  return {
    pid: child.pid as number,
    ready,
    log: stderr,
    untilLogged: async (text) => {
      while (!stderr().includes(text)) await once(child.stderr as NodeJS.ReadableStream, 'data');
    },
    pauseLog: () => child.stderr?.pause(),
    end: (signal) => {
      child.stderr?.resume();
      child.kill(signal);
      return ended(child, () => '', stderr);
    },
  };
}

/** Starts it and waits for nothing. */
export function start(args: readonly string[], options: ProgramOptions, timeout = COMMAND_TIMEOUT_MS): ChildProcess {
  const [program = '', ...rest] = [...(options.below ?? []), options.node ?? process.execPath, PROGRAM, ...args];
  return spawn(program, rest, {
    stdio: ['pipe', options.stdout ?? 'pipe', options.stderr ?? 'pipe'],
    cwd: options.cwd,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...options.environment },
    timeout,
    killSignal: 'SIGKILL',
  });
}
