/**
 * Other people's programs as clients of a fleet: found on this machine, started as child processes with an environment of
 * their own, ended with their test. A suite whose programs are missing is skipped and says which; where they have to be
 * there (ROLLCALL_TEST_REQUIRE_CLIENTS) it fails instead. Knows no client's options.
 */

import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it, onTestFinished } from 'vitest';

interface ClientProgram {
  readonly file: string;
  /** Where else to look than in the path: servers aren't in everyone's. */
  readonly directories?: readonly string[];
  /** Arguments with which it ends well if it can do what is needed of it. */
  readonly probe?: readonly string[];
  /** A program of the same machine that starts it, with its arguments. */
  readonly through?: readonly [file: string, ...args: string[]];
  readonly debianPackage: string;
}

const CLIENTS = {
  bash: { file: 'bash', debianPackage: 'bash' },
  chromium: { file: 'chromium', debianPackage: 'chromium' },
  certtool: { file: 'certtool', debianPackage: 'gnutls-bin' },
  curl: { file: 'curl', debianPackage: 'curl' },
  'gnutls-cli': { file: 'gnutls-cli', debianPackage: 'gnutls-bin' },
  faketime: { file: 'faketime', debianPackage: 'faketime' },
  haproxy: { file: 'haproxy', directories: ['/usr/sbin'], debianPackage: 'haproxy' },
  nginx: { file: 'nginx', directories: ['/usr/sbin'], debianPackage: 'nginx-light' },
  mosquitto: { file: 'mosquitto', directories: ['/usr/sbin', '/usr/local/sbin'], debianPackage: 'mosquitto' },
  mosquitto_pub: { file: 'mosquitto_pub', debianPackage: 'mosquitto-clients' },
  // Into a pipe it would write what it has to say when it ends.
  mosquitto_sub: { file: 'mosquitto_sub', through: ['stdbuf', '-oL'], debianPackage: 'mosquitto-clients' },
  openssl: { file: 'openssl', debianPackage: 'openssl' },
  'nats-server': {
    file: 'nats-server',
    directories: ['/usr/sbin', '/usr/local/bin'],
    debianPackage: 'nats-server',
  },
  // The distribution's own interpreter: another one in the path doesn't see the distribution's modules.
  paho: { file: '/usr/bin/python3', probe: ['-c', 'import paho.mqtt.client'], debianPackage: 'python3-paho-mqtt' },
  postgres: {
    file: 'postgres',
    directories: ['15', '16', '17', '18'].map((version) => `/usr/lib/postgresql/${version}/bin`),
    debianPackage: 'postgresql',
  },
  pgbouncer: { file: 'pgbouncer', directories: ['/usr/sbin'], debianPackage: 'pgbouncer' },
  'systemd-analyze': { file: 'systemd-analyze', debianPackage: 'systemd' },
  'softhsm2-util': { file: 'softhsm2-util', debianPackage: 'softhsm2' },
  pki: { file: 'pki', debianPackage: 'strongswan-pki' },
} as const satisfies Record<string, ClientProgram>;

export type ClientName = keyof typeof CLIENTS;

const found = new Map<ClientName, readonly string[] | undefined>();

/** The start of its command line. */
function findClient(name: ClientName): readonly string[] | undefined {
  if (!found.has(name)) found.set(name, lookFor(CLIENTS[name]));
  return found.get(name);
}

function lookFor({ file, directories, probe, through }: ClientProgram): readonly string[] | undefined {
  const program = findProgram(file, directories);
  if (program === undefined) return undefined;
  if (probe !== undefined && spawnSync(program, probe, { stdio: 'ignore', timeout: 10_000 }).status !== 0)
    return undefined;
  if (through === undefined) return [program];
  const starter = findProgram(through[0]);
  return starter === undefined ? undefined : [starter, ...through.slice(1), program];
}

function findProgram(file: string, directories: readonly string[] = []): string | undefined {
  const path = [...(process.env.PATH ?? '').split(delimiter), ...directories];
  const candidates = file.startsWith('/') ? [file] : path.filter(Boolean).map((directory) => join(directory, file));
  return candidates.find((candidate) => existsSync(candidate));
}

/** A suite that needs these programs. */
export function describeWithClients(title: string, needs: readonly ClientName[], tests: () => void): void {
  const missing = needs.filter((name) => findClient(name) === undefined);
  if (missing.length === 0) {
    describe(title, tests);
    return;
  }
  const packages = [...new Set(missing.map((name) => CLIENTS[name].debianPackage))];
  const reason = `not installed: ${missing.join(', ')} (Debian: ${packages.join(' ')})`;
  if (process.env.ROLLCALL_TEST_REQUIRE_CLIENTS) {
    describe(title, () => {
      it('finds the programs it needs', () => expect.fail(reason));
    });
    return;
  }
  process.stderr.write(`skipped: ${title}; ${reason}\n`);
  describe.skip(`${title}; ${reason}`, tests);
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
  const [program, ...first] = findClient(name) ?? [];
  if (program === undefined) throw new Error(`expected describeWithClients to ask for ${name}`);
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
