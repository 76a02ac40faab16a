/**
 * What forwarding costs: a journal that is full already, drained into each kind of target on this machine. In the CPU time
 * stands all of this process: reading the journal, its thread, and the target's client; not the target itself.
 */

import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { DeviceId } from '../../contract/identity.ts';
import { Backoff } from '../../sinks/backoff.ts';
import { DeadLetters } from '../../sinks/dead-letters.ts';
import { FileTarget } from '../../sinks/file-target.ts';
import { Filter, NO_FILTER } from '../../sinks/filter.ts';
import { Forwarder } from '../../sinks/forwarder.ts';
import { JournalHead } from '../../sinks/journal-head.ts';
import { NatsTarget } from '../../sinks/nats-target.ts';
import { PostgresTarget } from '../../sinks/postgres-target.ts';
import type { Target } from '../../sinks/target.ts';
import { WebhookTarget } from '../../sinks/webhook-target.ts';
import { CursorFile } from '../../telemetry/cursor-file.ts';
import { openTelemetry } from '../../telemetry/open.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { Bench } from './bench.ts';
import { Borrowed } from './children.ts';
import { freePort, untilListening } from './ports.ts';
import type { Result } from './results.ts';
import { spread } from './statistics.ts';

const DEVICES = 500;
const PAYLOAD_BYTES = 200;
/** Messages, for each of a burst of the row `publish`. */
const MESSAGES_PER_BURST = 10;
const BATCH = 500;
const TIMEOUT_MS = 30_000;
const POSTGRES_VERSIONS = '/usr/lib/postgresql';

const log = pino({ level: 'silent' });

/** A target of its own for each round, so that nothing is there already. */
type Targets = (round: number) => Target;

export async function sinks({ sizes }: Bench): Promise<readonly Result[]> {
  const messages = sizes.messages * MESSAGES_PER_BURST;
  const borrowed = new Borrowed();
  const stopAtExit = () => borrowed.giveBackNow();
  process.once('exit', stopAtExit);
  const journal = await openTelemetry({ directory: join(borrowed.directory, 'journal'), now: Date.now, log });
  try {
    await fill(journal, messages);
    const results: Result[] = [];
    const measured = async (row: string, targets: Targets) => {
      results.push(
        await measure(
          `forwarding of ${messages} messages: ${row}`,
          journal,
          messages,
          targets,
          borrowed,
          sizes.processes,
        ),
      );
    };
    await measured('read only, target does nothing', () => ({ deliver: async () => [], close: async () => {} }));
    await measured('file', (round) => {
      const path = join(borrowed.directory, `out-${round}.ndjson`);
      return new FileTarget({ path, rotateBytes: 1_073_741_824, keep: 0 });
    });
    await measured('webhook', await webhooks(borrowed));
    const nats = ['/usr/sbin/nats-server', '/usr/bin/nats-server'].find(existsSync);
    if (nats !== undefined) await measured('NATS JetStream', await natsTargets(borrowed, nats));
    const postgres = postgresPrograms();
    if (postgres !== undefined) {
      const { targets, remove } = await postgresTargets(borrowed, postgres);
      await measured('PostgreSQL', targets).finally(remove);
    }
    return results;
  } finally {
    await journal.close();
    process.off('exit', stopAtExit);
    await borrowed.giveBack();
  }
}

async function measure(
  row: string,
  journal: Telemetry,
  messages: number,
  targets: Targets,
  borrowed: Borrowed,
  rounds: number,
): Promise<Result> {
  const cpu: number[] = [];
  const rates: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const directory = mkdtempSync(join(borrowed.directory, 'sink-'));
    const forwarder = new Forwarder({
      journal,
      head: await JournalHead.of(journal),
      target: targets(round),
      filter: new Filter(NO_FILTER, async () => undefined, Date.now),
      cursor: new CursorFile(join(directory, 'position')),
      deadLetters: new DeadLetters({ file: join(directory, 'dead'), bytes: 1_048_576, now: Date.now, log }),
      batch: { messages: BATCH, bytes: 1_048_576, linger: 10 },
      backoff: new Backoff({ first: 50, most: 200 }, Math.random),
      now: Date.now,
      log,
    });
    const began = performance.now();
    const before = process.cpuUsage();
    forwarder.start();
    while (forwarder.status().position < messages) await new Promise((resolve) => setTimeout(resolve, 5));
    const { user, system } = process.cpuUsage(before);
    const seconds = (performance.now() - began) / 1000;
    const { deadLettered } = forwarder.status();
    await forwarder.close(1000);
    if (deadLettered > 0) throw new Error(`${row}: expected no dead letters, found ${deadLettered}`);
    if (round === 0) continue; // connects, makes the table or stream, is compiled
    cpu.push((user + system) / messages);
    rates.push(messages / seconds);
  }
  return {
    row,
    unit: 'µs CPU',
    figures: { rollcall: spread(cpu.map((sample) => [sample])) },
    ratios: {},
    goals: [],
    perSecond: { rollcall: spread([rates]).median },
    remarks: [`${Math.round(spread([rates]).median)} messages per second`],
  };
}

async function fill(journal: Telemetry, messages: number): Promise<void> {
  const text = JSON.stringify({ celsius: 21.5, at: '2030-01-01T00:00:00Z', note: '' });
  const payload = Buffer.from(text.replace('""', `"${'x'.repeat(PAYLOAD_BYTES - text.length)}"`));
  for (let from = 0; from < messages; from += 5_000) {
    const count = Math.min(5_000, messages - from);
    await Promise.all(
      Array.from({ length: count }, (_, index) => {
        const device = `dev-${(from + index) % DEVICES}` as DeviceId;
        return journal.accept({ device, stream: 'climate', receivedAt: Date.now(), qos: 1, payload });
      }),
    );
  }
}

async function webhooks(borrowed: Borrowed): Promise<Targets> {
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

async function natsTargets(borrowed: Borrowed, program: string): Promise<Targets> {
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

function postgresPrograms(): string | undefined {
  const versions = existsSync(POSTGRES_VERSIONS) ? readdirSync(POSTGRES_VERSIONS) : [];
  return versions.map((name) => join(POSTGRES_VERSIONS, name, 'bin')).find((bin) => existsSync(join(bin, 'postgres')));
}

/** With its defaults: a commit is on disk. It refuses to run as root, so it runs as its own user then. */
async function postgresTargets(
  borrowed: Borrowed,
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
