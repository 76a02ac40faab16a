/**
 * A PostgreSQL primary with two standbys on this machine, of which any one has to confirm each commit. In place of Patroni it promotes a
 * standby when the primary ended, and starts again what ended. It never gives up: what fails is tried again.
 */

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Problem } from '@rollcall/protocol';
import { freePort } from '../free-port.ts';
import { PostgresProcess, SUPERUSER } from './postgres-process.ts';
import { findPostgres, postgresOwner } from './postgres-programs.ts';

export const RESTART_MS = 5_000;
const END_MS = 10_000;
const NAMES = ['a', 'b', 'c'];
/** Small: for a few devices. A rebuilt standby copies all of it. */
const SETTINGS = ['logging_collector=off', 'shared_buffers=16MB', 'wal_keep_size=64MB', 'max_wal_size=256MB'];
const USER = 'rollcall';
/** Owns everything, and logs in nowhere. */
const FLEET = 'rollcall_fleet';
const DATABASE = 'rollcall';

export interface QuorumOptions {
  /** A new directory, in one that the user of PostgreSQL may enter. */
  readonly directory: string;
  /** Where to search PostgreSQL's programs besides Debian's place. */
  readonly path: string | undefined;
  /** A sentence about what happened. */
  readonly onChange: (text: string) => void;
}

export class PostgresQuorum {
  readonly servers: readonly PostgresProcess[];
  /** A file with the password of the role in `url`, for this user alone. */
  readonly passwordFile: string;
  primary: PostgresProcess;
  readonly #options: QuorumOptions;
  #isClosing = false;
  /** Former primaries: they may have what no standby confirmed, and begin again with a copy. */
  readonly #outdated = new Set<PostgresProcess>();
  /** One repair after the other. */
  #repaired: Promise<void> = Promise.resolve();

  /** Throws Problem `usage` when PostgreSQL is not installed. */
  static async start(options: QuorumOptions): Promise<PostgresQuorum> {
    const programs = findPostgres(options.path);
    const owner = postgresOwner();
    const { directory } = options;
    mkdirSync(directory, { mode: 0o700 });
    if (owner.uid !== undefined && owner.gid !== undefined) chownSync(directory, owner.uid, owner.gid);
    const servers: PostgresProcess[] = [];
    for (const name of NAMES) {
      const quorum = `synchronous_standby_names=ANY 1 (${NAMES.filter((other) => other !== name).join(', ')})`;
      const port = await freePort();
      servers.push(new PostgresProcess({ name, port, directory, settings: [quorum, ...SETTINGS], programs, owner }));
    }
    const quorum = new PostgresQuorum(servers, options);
    try {
      await quorum.#create({ programs, owner });
      return quorum;
    } catch (error) {
      await quorum.close();
      throw error;
    }
  }

  private constructor(servers: readonly PostgresProcess[], options: QuorumOptions) {
    this.servers = servers;
    this.primary = servers[0] as PostgresProcess;
    this.#options = options;
    this.passwordFile = `${options.directory}-password`;
    for (const server of servers) server.onEnd((how) => this.#ended(server, how));
  }

  get standbys(): readonly PostgresProcess[] {
    return this.servers.filter((server) => server !== this.primary);
  }

  /** For `store.url`: all servers, of which a node finds the primary. */
  get url(): string {
    return `postgres://${USER}@${this.servers.map(({ port }) => `127.0.0.1:${port}`).join()}/${DATABASE}`;
  }

  /** Ends all processes. Removes nothing. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#repaired;
    await Promise.all(this.servers.map((server) => server.end('SIGQUIT', END_MS)));
  }

  async #create({
    programs,
    owner,
  }: {
    readonly programs: string;
    readonly owner: { readonly uid?: number };
  }): Promise<void> {
    const password = randomBytes(24).toString('base64url');
    writeFileSync(this.passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' });
    const [first] = this.servers as readonly [PostgresProcess];
    const access = ['--auth-local=trust', '--auth-host=scram-sha-256'];
    const form = ['--encoding=UTF8', '--locale=C', '--wal-segsize=1', '--no-sync'];
    await first.run('initdb', ['--pgdata', first.data, '--username', SUPERUSER, ...access, ...form]).catch((error) => {
      throw new Problem('data_directory_unusable', {
        detail: `PostgreSQL could not make its files in ${this.#options.directory}`,
        reason: lastLine(error),
        hint: 'its user has to be able to enter all directories above; --directory names another place',
      });
    });
    // By standard input: arguments are visible to every user of this machine.
    const single = spawn(join(programs, 'postgres'), ['--single', '-j', '-D', first.data, 'postgres'], {
      ...owner,
      cwd: this.#options.directory,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    single.stdin?.end(`${rolesAndDatabase(password).join(';\n\n')};\n`);
    await once(single, 'exit');
    await Promise.all(this.standbys.map(({ data }) => promisify(execFile)('cp', ['-a', first.data, data])));
    await first.start();
    for (const standby of this.standbys) standby.follow(first);
    await Promise.all(this.standbys.map((standby) => standby.start()));
  }

  #ended(server: PostgresProcess, how: string): void {
    if (this.#isClosing) return;
    this.#options.onChange(
      `postgres ${server.name}, ${server === this.primary ? 'the primary' : 'a standby'}, ended by ${how}`,
    );
    this.#repairNext(server);
  }

  /** After the repairs that were asked for before; at the end again when it fails. */
  #repairNext(server: PostgresProcess): void {
    this.#repaired = this.#repaired.then(() => this.#repair(server)).catch(() => this.#repairNext(server));
  }

  async #repair(server: PostgresProcess): Promise<void> {
    if (server === this.primary && (await this.#promoteNext())) this.#outdated.add(server);
    if (await this.#isClosedIn(RESTART_MS)) return;
    if (server === this.primary) {
      await server.start();
      this.#options.onChange(`postgres ${server.name}, the primary, runs again`);
      return;
    }
    if (this.#outdated.has(server)) await this.#copyPrimary(server);
    this.#outdated.delete(server);
    server.follow(this.primary);
    await server.start();
    this.#options.onChange(`postgres ${server.name} is a standby of ${this.primary.name}`);
  }

  /** Makes the standby that has most the primary. False when none runs. */
  async #promoteNext(): Promise<boolean> {
    const running = this.standbys.filter(({ isRunning }) => isRunning);
    const received = await Promise.all(
      running.map(async (standby) => {
        const position = await standby.readValue("SELECT pg_last_wal_receive_lsn() - '0/0'").catch(() => '');
        return { standby, bytes: position.padStart(30, '0') };
      }),
    );
    const [next] = received.toSorted((one, other) => (one.bytes < other.bytes ? 1 : -1));
    if (next === undefined) return false;
    await next.standby.promote();
    this.primary = next.standby;
    for (const standby of this.standbys) if (standby.isRunning) standby.followNow(this.primary);
    this.#options.onChange(`postgres ${this.primary.name} is the primary now`);
    return true;
  }

  async #copyPrimary(server: PostgresProcess): Promise<void> {
    await rm(server.data, { recursive: true, force: true });
    const { socketDirectory, port } = this.primary;
    const from = ['--host', socketDirectory, '--port', String(port), '--username', SUPERUSER, '--no-password'];
    await server.run('pg_basebackup', [...from, '--pgdata', server.data, '--checkpoint=fast', '--no-sync']);
  }

  async #isClosedIn(ms: number): Promise<boolean> {
    for (const end = performance.now() + ms; performance.now() < end && !this.#isClosing; ) await delay(50);
    return this.#isClosing;
  }
}

/** As docs/grow-beyond-one-machine.md has it: the first node makes roles for the next ones. */
function rolesAndDatabase(password: string): readonly string[] {
  return [
    `CREATE ROLE ${FLEET} NOLOGIN`,
    `CREATE ROLE ${USER} LOGIN PASSWORD '${password}' CREATEROLE`,
    `GRANT ${FLEET} TO ${USER} WITH ADMIN OPTION`,
    `GRANT pg_signal_backend TO ${USER}`,
    `ALTER ROLE ${USER} SET role = '${FLEET}'`,
    `CREATE DATABASE ${DATABASE} OWNER ${FLEET}`,
  ];
}

function lastLine(error: unknown): string {
  const { stderr, message } = error as { readonly stderr?: string; readonly message: string };
  return (stderr ?? message).trim().split('\n').at(-1) ?? message;
}
