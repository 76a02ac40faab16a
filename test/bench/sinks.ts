/**
 * What forwarding costs: a journal that is full already, drained into each kind of target on this machine. In the CPU time
 * is that of this process: reading the journal, its thread, and the target's client; not the target itself.
 */

import { join } from 'node:path';
import type { DeviceId } from '@rollcall/protocol';
import { pino } from 'pino';
import type { Telemetry } from '../../telemetry/index.ts';
import { openTelemetry } from '../../telemetry/open.ts';
import { FileTarget } from '../../telemetry/sinks/file-target.ts';
import type { Bench } from './bench.ts';
import { BenchResources } from './children.ts';
import type { Result } from './results.ts';
import { sinkLoop } from './sink-loop.ts';
import {
  natsProgram,
  natsTargets,
  openForwarder,
  postgresPrograms,
  postgresTargets,
  type Targets,
  webhooks,
} from './sink-targets.ts';
import { spread } from './statistics.ts';

const DEVICES = 500;
const PAYLOAD_BYTES = 200;
/** Messages, for each of a burst of the row `publish`. */
const MESSAGES_PER_BURST = 10;

const log = pino({ level: 'silent' });

export async function sinks({ sizes }: Bench): Promise<readonly Result[]> {
  const messages = sizes.messages * MESSAGES_PER_BURST;
  const borrowed = new BenchResources();
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
    const nats = natsProgram();
    if (nats !== undefined) await measured('NATS JetStream', await natsTargets(borrowed, nats));
    const postgres = postgresPrograms();
    if (postgres !== undefined) {
      const { targets, remove } = await postgresTargets(borrowed, postgres);
      await measured('PostgreSQL', targets).finally(remove);
    }
    return [...results, ...(await sinkLoop(journal, borrowed, sizes.processes))];
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
  borrowed: BenchResources,
  rounds: number,
): Promise<Result> {
  const cpu: number[] = [];
  const rates: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const forwarder = await openForwarder(journal, targets(round), borrowed);
    const began = performance.now();
    const before = process.cpuUsage();
    forwarder.start();
    while (Number(`${forwarder.status().position}`) < messages) await new Promise((resolve) => setTimeout(resolve, 5));
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
