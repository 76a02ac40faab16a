/** One server of a PostgreSQL cluster as a child process: a primary, or a standby of another one. Everything listens on loopback. */

import { type ChildProcess, execFile } from 'node:child_process';
import { appendFileSync, chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { endChild, isRunning, spawnChild } from './child-processes.ts';
import type { ProcessOwner } from './postgres-programs.ts';

/** Through the unix socket, without a password. */
export const SUPERUSER = 'postgres';

export interface PostgresProcessOptions {
  /** Its `application_name` towards a primary, as `synchronous_standby_names` names it. */
  readonly name: string;
  readonly port: number;
  /** Of its unix socket, and the parent of its data directory; belongs to the owner. */
  readonly directory: string;
  /** `name=value`. */
  readonly settings: readonly string[];
  /** Directory of PostgreSQL's programs. */
  readonly programs: string;
  readonly owner: ProcessOwner;
}

export class PostgresProcess {
  readonly name: string;
  readonly port: number;
  readonly socketDirectory: string;
  readonly data: string;
  readonly #options: PostgresProcessOptions;
  #child: ChildProcess | undefined;
  #onEnd: (how: string) => void = () => {};

  /** Starts nothing. */
  constructor(options: PostgresProcessOptions) {
    this.name = options.name;
    this.port = options.port;
    this.socketDirectory = options.directory;
    this.data = join(options.directory, options.name);
    this.#options = options;
  }

  get isRunning(): boolean {
    return isRunning(this.#child);
  }

  /** Undefined while it does not run. */
  get pid(): number | undefined {
    return this.isRunning ? this.#child?.pid : undefined;
  }

  /** Called when it ends without `end`: `SIGKILL`, or `code 1`. */
  onEnd(listener: (how: string) => void): void {
    this.#onEnd = listener;
  }

  /** A standby of `primary` from its next start on; its data has to be of the same history. */
  follow(primary: PostgresProcess): void {
    const connection = `host=${primary.socketDirectory} port=${primary.port} user=${SUPERUSER} application_name=${this.name}`;
    appendFileSync(join(this.data, 'postgresql.auto.conf'), `primary_conninfo = '${connection}'\n`);
    const signal = join(this.data, 'standby.signal');
    writeFileSync(signal, '');
    const { uid, gid } = this.#options.owner;
    if (uid !== undefined && gid !== undefined) chownSync(signal, uid, gid);
  }

  /** A running standby follows another primary. */
  followNow(primary: PostgresProcess): void {
    this.follow(primary);
    this.#child?.kill('SIGHUP');
  }

  /** Resolves when it accepts connections; rejects with its log when it ends before. */
  async start(): Promise<void> {
    const { programs, owner, settings } = this.#options;
    const places = ['-D', this.data, '-k', this.socketDirectory, '-h', '127.0.0.1', '-p', String(this.port)];
    const child = spawnChild(
      join(programs, 'postgres'),
      [...places, ...settings.flatMap((setting) => ['-c', setting])],
      {
        ...owner,
        cwd: this.socketDirectory,
        stdio: ['ignore', 'ignore', 'pipe'],
        // An immediate shutdown.
        atParentsDeath: 'SIGQUIT',
      },
    );
    this.#child = child;
    const lines: string[] = [];
    const ready = Promise.withResolvers<void>();
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      if (lines.length < 100) lines.push(line);
      if (/ready to accept (read-only )?connections/.test(line)) ready.resolve();
    });
    child.once('error', ready.reject);
    child.once('exit', (code, signal) => {
      const how = signal ?? `code ${code}`;
      ready.reject(new Error(`postgres ended with ${how}\n${lines.join('\n')}`));
      if (this.#child === child) this.#onEnd(how);
    });
    await ready.promise;
  }

  /** Ends its sessions and writes a checkpoint: a fast shutdown. */
  async stop(): Promise<void> {
    await this.end('SIGINT');
  }

  async end(signal: NodeJS.Signals, patienceMs?: number): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    await endChild(child, signal, patienceMs);
  }

  /** Makes a standby the primary; resolves when it accepts writes. */
  async promote(): Promise<void> {
    await this.run('pg_ctl', ['promote', '--wait', '--pgdata', this.data]);
  }

  /** One value, asked as superuser. */
  async readValue(sql: string): Promise<string> {
    const at = ['--host', this.socketDirectory, '--port', String(this.port), '--username', SUPERUSER, '--no-password'];
    return (
      await this.run('psql', [...at, '--no-psqlrc', '--tuples-only', '--no-align', '--command', sql, 'postgres'])
    ).trim();
  }

  /** One of PostgreSQL's programs as the owner of the server, with its standard output. Rejects with its standard error. */
  async run(program: string, args: readonly string[]): Promise<string> {
    const { programs, owner } = this.#options;
    const { stdout } = await promisify(execFile)(join(programs, program), args, {
      ...owner,
      cwd: this.socketDirectory,
    });
    return stdout;
  }
}
