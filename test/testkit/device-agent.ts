/** The agent as gateways get it: built into one file, and run as a program of its own by a Node that devices have. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { buildDeviceAgent } from '../../device-sdk/build.ts';
import { collect, type Ended, ended } from './child-process.ts';
import { deviceNode } from './device-node.ts';

export interface AgentProgram {
  /** Path of the one file. */
  readonly file: string;
  readonly bytes: number;
  /** Its settings file, below a directory of its own, with state, socket and token file in it. */
  configure(directory: string, lines?: readonly string[]): AgentPlace;
}

export interface AgentPlace {
  readonly config: string;
  readonly state: string;
  readonly socket: string;
  readonly tokenFile: string;
  /** Puts the token where the agent looks for it. */
  giveToken(text: string): void;
  /** Runs one command to its end, below a program that starts others if one is given. It is killed after 30 seconds. */
  command(args: readonly string[], stdin?: string, below?: readonly string[]): Promise<Ended>;
  /** Starts `run` and waits for nothing. Killed with the test. */
  start(environment?: Readonly<Record<string, string>>, below?: readonly string[]): ChildProcess;
  /** Starts `run`, below a program that starts others if one is given, and waits until its doors are open. Killed with the test. */
  run(environment?: Readonly<Record<string, string>>, below?: readonly string[]): Promise<RunningAgent>;
}

type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string };

export interface RunningAgent {
  readonly pid: number;
  /** Of the plain MQTT listener. */
  readonly mqttPort: number;
  /** The first log line, also an earlier one, that satisfies. Rejects when the agent ends without it. */
  logged(satisfies: (line: LogLine) => boolean): Promise<LogLine>;
  /** Resolves when it has come to this state after the call, or is in it. */
  reached(state: string): Promise<LogLine>;
  end(signal: NodeJS.Signals): Promise<Ended>;
}

export async function buildAgentProgram(directory: string): Promise<AgentProgram> {
  const file = join(directory, 'rollcall-device.cjs');
  const bytes = await buildDeviceAgent(file);
  return { file, bytes, configure: (place, lines) => configure(file, place, lines) };
}

function configure(file: string, directory: string, lines: readonly string[] = []): AgentPlace {
  const at = (name: string) => join(directory, name);
  const [config, state, socket, tokenFile] = [at('device.conf'), at('state'), at('run/device.sock'), at('token')];
  writeFileSync(
    config,
    [`state = ${state}`, `socket = ${socket}`, `token-file = ${tokenFile}`, ...lines, ''].join('\n'),
  );
  const start = (
    args: readonly string[],
    environment: Readonly<Record<string, string>>,
    timeout: number,
    below: readonly string[] = [],
  ) => {
    const [program = '', ...rest] = [...below, deviceNode(), file, '--config', config, ...args];
    return spawn(program, rest, {
      cwd: directory,
      env: { PATH: process.env.PATH, ...environment },
      timeout,
      killSignal: 'SIGKILL',
    });
  };
  const startRun = (environment: Readonly<Record<string, string>> = {}, below: readonly string[] = []) => {
    const child = start(['run'], environment, 120_000, below);
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    return child;
  };
  return {
    config,
    state,
    socket,
    tokenFile,
    giveToken: (text) => writeFileSync(tokenFile, `${text}\n`, { mode: 0o600 }),
    command: async (args, stdin = '', below = []) => {
      const child = start(args, {}, 30_000, below);
      child.stdin.end(stdin);
      return ended(child, collect(child.stdout), collect(child.stderr));
    },
    start: startRun,
    run: async (environment, below) => follow(startRun(environment, below)),
  };
}

async function follow(child: ChildProcess): Promise<RunningAgent> {
  const stderr = collect(child.stderr);
  const lines: LogLine[] = [];
  const watchers = new Set<() => void>();
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (text) => {
    if (!text.startsWith('{')) return;
    lines.push(JSON.parse(text) as LogLine);
    for (const look of watchers) look();
  });
  const gone = once(child, 'close').then(([code]) => {
    throw new Error(`the agent ended with ${code}: ${stderr()}`);
  });
  gone.catch(() => {});
  const from = (index: number, satisfies: (line: LogLine) => boolean) =>
    Promise.race([
      gone,
      new Promise<LogLine>((resolve) => {
        const look = () => {
          const line = lines.slice(index).find(satisfies);
          if (line === undefined) return;
          watchers.delete(look);
          resolve(line);
        };
        watchers.add(look);
        look();
      }),
    ]);
  const isState = (line: LogLine) => line.msg === 'device state changed';
  const started = await from(0, ({ msg }) => msg === 'agent started');
  return {
    pid: child.pid as number,
    mqttPort: Number(started.mqttPort),
    logged: (satisfies) => from(0, satisfies),
    reached: (state) => {
      const latest = lines.findLastIndex(isState);
      return from(Math.max(latest, 0), (line) => isState(line) && line.state === state);
    },
    end: (signal) => {
      child.kill(signal);
      return ended(child, () => '', stderr);
    },
  };
}
