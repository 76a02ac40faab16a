/** Targets of the sinks in the bench: real servers as child processes, with a new target for every round. */

import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { freePort } from '../../cli/free-port.ts';
import { CursorFile } from '../../storage/index.ts';
import type { Telemetry } from '../../telemetry/index.ts';
import { Cursor } from '../../telemetry/index.ts';
import { Backoff } from '../../telemetry/sinks/backoff.ts';
import { DeadLetters } from '../../telemetry/sinks/dead-letters.ts';
import { NO_FILTER, SinkMessageFilter } from '../../telemetry/sinks/filter.ts';
import { Forwarder } from '../../telemetry/sinks/forwarder.ts';
import { JournalHead } from '../../telemetry/sinks/journal-head.ts';
import { NatsTarget } from '../../telemetry/sinks/nats-target.ts';
import { PostgresTarget } from '../../telemetry/sinks/postgres-target.ts';
import type { Target } from '../../telemetry/sinks/target.ts';
import { WebhookTarget } from '../../telemetry/sinks/webhook-target.ts';
import type { BenchResources } from './children.ts';
import { untilListening } from './until-listening.ts';

const BATCH = 500;
const TIMEOUT_MS = 30_000;
const POSTGRES_VERSIONS = '/usr/lib/postgresql';

const log = pino({ level: 'silent' });

/** A target of its own for each round, so that nothing is there already. */
export type Targets = (round: number) => Target;

/** Forwards from the first stored message, or what a reader at `from` does not have. */
export async function openForwarder(
  journal: Telemetry,
  target: Target,
  borrowed: BenchResources,
  from?: Cursor,
): Promise<Forwarder> {
  const directory = mkdtempSync(join(borrowed.directory, 'sink-'));
  const cursor = new CursorFile(join(directory, 'position'), Cursor.parse);
  if (from !== undefined) await cursor.save(from);
  return new Forwarder({
    journal,
    head: await JournalHead.of(journal),
    target,
    filter: new SinkMessageFilter(NO_FILTER, async () => undefined, Date.now),
    cursor,
    deadLetters: new DeadLetters({ file: join(directory, 'dead'), bytes: 1_048_576, now: Date.now, log }),
    batch: { messages: BATCH, bytes: 1_048_576, linger: 10 },
    backoff: new Backoff({ first: 50, most: 200 }, Math.random),
    now: Date.now,
    log,
  });
}

/** Undefined where it is not on this machine. */
export function natsProgram(): string | undefined {
  return ['/usr/sbin/nats-server', '/usr/bin/nats-server'].find(existsSync);
}

export async function webhooks(borrowed: BenchResources): Promise<Targets> {
  const program = fileURLToPath(new URL('./load/webhook-receiver.ts', import.meta.url));
  const child = borrowed.start({ name: 'webhook', program: process.execPath, args: [program] });
  const url = `http://127.0.0.1:${await child.firstLine()}/`;
  return (round) =>
    new WebhookTarget({
      url,
      source: 'telemetry',
      tls: 'none',
      trustDomain: 'bench',
      name: `hook-${round}`,
      secret: () => 'a secret of enough characters',
      timeout: TIMEOUT_MS,
      now: Date.now,
    });
}

export async function natsTargets(borrowed: BenchResources, program: string): Promise<Targets> {
  const port = await freePort();
  const store = join(borrowed.directory, 'nats');
  const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', store];
  await untilListening(port, borrowed.start({ name: 'nats', program, args }));
  return (round) =>
    new NatsTarget({
      server: `127.0.0.1:${port}`,
      tls: 'none',
      stream: `BENCH-${round}`,
      subject: `bench-${round}`,
      source: 'telemetry',
      timeout: TIMEOUT_MS,
    });
}

export function postgresPrograms(): string | undefined {
  const versions = existsSync(POSTGRES_VERSIONS) ? readdirSync(POSTGRES_VERSIONS) : [];
  return versions.map((name) => join(POSTGRES_VERSIONS, name, 'bin')).find((bin) => existsSync(join(bin, 'postgres')));
}

/** With its defaults: a commit is on disk. It refuses to run as root, so it runs as its own user then. */
export async function postgresTargets(
  borrowed: BenchResources,
  bin: string,
): Promise<{ readonly targets: Targets; readonly remove: () => void }> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-bench-pg-'));
  const data = join(directory, 'data');
  const isRoot = process.getuid?.() === 0;
  const as: readonly string[] = isRoot ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];
  if (isRoot) {
    const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' })));
    chownSync(directory, uid as number, gid as number);
  }
  const run = (...words: readonly string[]) => {
    const [program, ...args] = [...as, ...words] as [string, ...string[]];
    return { program, args };
  };
  const init = run(join(bin, 'initdb'), '-D', data, '-U', 'rollcall', '-A', 'trust', '--locale=C', '-E', 'UTF8');
  execFileSync(init.program, init.args, { cwd: directory, stdio: 'pipe' });
  const port = await freePort();
  const settings = ['-c', `unix_socket_directories=${directory}`];
  const server = borrowed.start({
    name: 'postgres',
    ...run(join(bin, 'postgres'), '-D', data, '-h', '127.0.0.1', '-p', String(port), ...settings),
  });
  await untilListening(port, server);
  void server.ended.then(() => rmSync(directory, { recursive: true, force: true }));
  return {
    targets: (round) =>
      new PostgresTarget({
        host: '127.0.0.1',
        port,
        database: 'postgres',
        user: 'rollcall',
        tls: 'none',
        table: `bench_${round}`,
        source: 'telemetry',
        timeout: TIMEOUT_MS,
      }),
    remove: () => void server.stop(),
  };
}
