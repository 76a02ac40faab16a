/** The processes and directories of the bench, which are always removed at its end. */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Child {
  readonly pid: number;
  readonly process: ChildProcess;
  /** The first line on its standard output. Rejects when it ends without one. */
  firstLine(): Promise<string>;
  /** Resolves with its exit code or signal, as text, when it has ended. */
  readonly ended: Promise<string>;
  /** Sends SIGTERM, and SIGKILL when that takes too long. Resolves when it has ended. */
  stop(): Promise<void>;
}

export interface Start {
  /** A word for messages and for the name of its log. */
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly channel?: 'ipc';
}

const STOP_WITHIN_MS = 10_000;
const READY_WITHIN_MS = 120_000;

export class BenchResources {
  readonly directory = mkdtempSync(join(tmpdir(), 'rollcall-bench-'));
  readonly #children = new Set<Child>();
  #logs = 0;

  /** Starts a program; what it writes on standard error is kept in a file, as a service manager would. */
  start({ name, program, args, channel }: Start): Child {
    this.#logs += 1;
    const logFile = join(this.directory, `${this.#logs}-${name}.log`);
    const log = openSync(logFile, 'w');
    const spawned = spawn(program, args, {
      stdio: channel === 'ipc' ? ['ignore', 'pipe', log, 'ipc'] : ['ignore', 'pipe', log],
    });
    closeSync(log);
    const ended = new Promise<string>((resolve) => {
      spawned.once('error', (error) => resolve(`could not be started: ${error.message}`));
      spawned.once('exit', (code, signal) => resolve(`ended with ${signal ?? code}: ${endOf(logFile)}`));
    });
    const child: Child = {
      pid: spawned.pid ?? 0,
      process: spawned,
      ended,
      firstLine: () =>
        new Promise((resolve, reject) => {
          const late = setTimeout(() => reject(new Error(`${name} was not ready in time`)), READY_WITHIN_MS);
          const lines = createInterface({ input: spawned.stdout as NonNullable<typeof spawned.stdout> });
          lines.once('line', (line) => {
            clearTimeout(late);
            resolve(line);
          });
          void ended.then((how) => {
            clearTimeout(late);
            reject(new Error(`${name} ${how}`));
          });
        }),
      stop: async () => {
        const impatience = setTimeout(() => spawned.kill('SIGKILL'), STOP_WITHIN_MS);
        spawned.kill('SIGTERM');
        await ended;
        clearTimeout(impatience);
        this.#children.delete(child);
      },
    };
    this.#children.add(child);
    return child;
  }

  async giveBack(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.stop()));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** The same in one turn, for when the bench itself has to go at once. */
  giveBackNow(): void {
    for (const child of this.#children) child.process.kill('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 }); // they may die a moment later
  }
}

function endOf(file: string): string {
  // `giveBackNow` removes it before the program has ended.
  if (!existsSync(file)) return 'no message';
  return readFileSync(file, 'utf8').slice(-500).trim() || 'no message';
}
