/**
 * Other people's programs as clients of a fleet: started as child processes with an environment of their own, ended with
 * their test. A suite whose programs are missing is skipped and names their packages; where they have to be there
 * (ROLLCALL_TEST_REQUIRE_CLIENTS) it fails instead. Knows no client's options.
 */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  areClientsRequired,
  type ClientName,
  clientCommand,
  missingClients,
  missingLocalhost,
} from './client-programs.ts';

/** A suite that needs these programs. */
export function describeWithClients(title: string, needs: readonly ClientName[], tests: () => void): void {
  const reason = missingClients(needs) ?? missingLocalhost();
  if (reason === undefined) {
    describe(title, tests);
    return;
  }
  if (areClientsRequired) {
    describe(title, () => {
      it('finds the programs it needs', () => expect.fail(reason));
    });
    return;
  }
  process.stderr.write(`skipped: ${title}; ${reason}\n`);
  describe.skip(`${title}; ${reason}`, tests);
}

/**
 * `describe` and `it` for a file whose tests all need these programs: skipped where one is missing. Where they have to be
 * there the tests run, and fail with the missing package's name.
 */
export function testsWithClients(file: string, needs: readonly ClientName[]) {
  const reason = missingClients(needs);
  const isSkipped = reason !== undefined && !areClientsRequired;
  if (isSkipped) process.stderr.write(`skipped: ${file}; ${reason}\n`);
  return { describe: describe.skipIf(isSkipped), it: it.skipIf(isSkipped) };
}

export interface ClientOptions {
  /** Working and home directory: no settings of the user's are found there. */
  readonly directory: string;
  /** Written to standard input. Secrets go here or into a file, not into arguments. */
  readonly input?: string | Buffer;
  /** Close standard input after that (the default), or wait for the client to end: some end when nothing more can come. */
  readonly afterInput?: 'close' | 'wait';
  /** Over the few variables that every client gets. */
  readonly environment?: Readonly<Record<string, string>>;
  /** A client that takes longer is killed, and its test fails. */
  readonly patienceMs?: number;
}

export interface ClientOutcome {
  /** Exit status; null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface LiveClient {
  /** The first line on either output, also an earlier one, that matches. Rejects when the client ends without it. */
  line(pattern: RegExp): Promise<string>;
  readonly ended: Promise<ClientOutcome>;
  /** Ends it at once, as a power cut would. */
  kill(): void;
}

const PATIENCE_MS = 15_000;

/** To be called in a test, at whose end it is killed if it still runs. */
export function startClient(name: ClientName, args: readonly string[], options: ClientOptions): LiveClient {
  const [program = '', ...first] = clientCommand(name);
  const { directory, input = '', afterInput = 'close', patienceMs = PATIENCE_MS } = options;
  const child = spawn(program, [...first, ...args], {
    cwd: directory,
    env: { PATH: process.env.PATH, HOME: directory, LC_ALL: 'C', TZ: 'UTC', ...options.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  child.stdin.on('error', () => {}); // it may end before it has read everything
  child.stdin.write(input);
  if (afterInput === 'close') child.stdin.end();

  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  const lines: string[] = [];
  const watchers = new Set<() => void>();
  for (const output of [child.stdout, child.stderr]) {
    createInterface({ input: output }).on('line', (line) => {
      lines.push(line);
      for (const look of watchers) look();
    });
  }

  let ranOut = false;
  const timer = setTimeout(() => {
    ranOut = true;
    child.kill('SIGKILL');
  }, patienceMs);
  const ended = new Promise<ClientOutcome>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => {
      const outcome = { status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
      if (ranOut) reject(new Error(`${name} did not end in ${patienceMs} ms\n${outcome.stdout}${outcome.stderr}`));
      else resolve(outcome);
    });
  }).finally(() => clearTimeout(timer));
  ended.catch(() => {}); // whoever waits for it hears of it

  return {
    ended,
    kill: () => {
      child.kill('SIGKILL');
    },
    line: (pattern) => {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const look = () => {
        const line = lines.find((candidate) => pattern.test(candidate));
        if (line !== undefined) resolve(line);
      };
      watchers.add(look);
      look();
      ended.then(
        ({ status }) => reject(new Error(`${name} ended with ${status} without ${pattern}\n${lines.join('\n')}`)),
        reject,
      );
      return promise.finally(() => watchers.delete(look));
    },
  };
}

/** Runs it to its end, good or bad. */
export function runClient(name: ClientName, args: readonly string[], options: ClientOptions): Promise<ClientOutcome> {
  return startClient(name, args, options).ended;
}

/** Runs it to a good end, and fails with its own words otherwise. */
export async function succeed(
  name: ClientName,
  args: readonly string[],
  options: ClientOptions,
): Promise<ClientOutcome> {
  const outcome = await runClient(name, args, options);
  if (outcome.status !== 0) {
    throw new Error(`${name} ${args.join(' ')} ended with ${outcome.status}\n${outcome.stdout}${outcome.stderr}`);
  }
  return outcome;
}
