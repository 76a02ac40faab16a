import type { DeviceId } from '@rollcall/protocol';
import type { Telemetry } from '../../telemetry/index.ts';
import type { Forwarder } from '../../telemetry/sinks/forwarder.ts';
import type { BenchResources } from './children.ts';
import { type LoopDelay, LoopWatch } from './loop-watch.ts';
import type { Result } from './results.ts';
import { natsProgram, natsTargets, openForwarder, postgresPrograms, postgresTargets } from './sink-targets.ts';
import { spread } from './statistics.ts';

const RATE = 5_000;
const SECONDS = 4;
const DEVICES = 500;
const TURN_MS = 2;
const PAYLOAD = Buffer.alloc(200, 0x20);

/** To reach; where it isn't, sinks belong into a thread of their own. */
const LATE_MS = 10;

interface Run extends LoopDelay {
  /** Of the loop's own thread, in percent of a core. */
  readonly busy: number;
  /** Messages that the slower sink still had to forward at the end. */
  readonly behind: number;
}

/** Nothing where one of the two targets is missing. */
export async function sinkLoop(
  journal: Telemetry,
  borrowed: BenchResources,
  rounds: number,
): Promise<readonly Result[]> {
  const [nats, postgres] = [natsProgram(), postgresPrograms()];
  if (nats === undefined || postgres === undefined) return [];
  const toNats = await natsTargets(borrowed, nats);
  const { targets: toPostgres, remove } = await postgresTargets(borrowed, postgres);
  const runs = { without: [] as Run[], with: [] as Run[] };
  try {
    for (let round = 0; round <= rounds; round += 1) {
      const without = await paced(journal, []);
      const from = journal.counters().newest;
      const names = [toNats(1000 + round), toPostgres(1000 + round)];
      const sinks = await Promise.all(names.map((target) => openForwarder(journal, target, borrowed, from)));
      for (const sink of sinks) sink.start();
      const both = await paced(journal, sinks);
      await Promise.all(sinks.map((sink) => sink.close(1000)));
      if (round === 0) continue; // connects, makes the table and the stream, is compiled
      runs.without.push(without);
      runs.with.push(both);
    }
  } finally {
    remove();
  }
  const behind = Math.max(...runs.with.map((run) => run.behind));
  const of = (what: string, unit: string, pick: (run: Run) => number, most?: number): Result => {
    const figure = spread(runs.with.map((run) => [pick(run)]));
    const plain = spread(runs.without.map((run) => [pick(run)])).median;
    return {
      row: `NATS and PostgreSQL at ${RATE} messages per second: ${what}`,
      unit,
      figures: { rollcall: figure },
      ratios: {},
      goals: most === undefined ? [] : [{ text: `under ${most} ms`, reached: figure.median < most }],
      remarks: [`${plain.toFixed(1)} ${unit} without sinks; ${behind} messages behind at the end`],
    };
  };
  return [
    of('event loop late, p99', 'ms', ({ p99 }) => p99, LATE_MS),
    of('event loop late, at most', 'ms', ({ max }) => max),
    of('CPU of the event loop between two turns, at most', 'ms', ({ ownMax }) => ownMax, LATE_MS),
    of("the event loop's thread is busy", '%', ({ busy }) => busy),
  ];
}

async function paced(journal: Telemetry, sinks: readonly Forwarder[]): Promise<Run> {
  const watch = new LoopWatch();
  const before = process.threadCpuUsage();
  const began = performance.now();
  let sent = 0;
  let last: Promise<unknown> = Promise.resolve();
  for (let passed = 0; passed < SECONDS * 1000; passed = performance.now() - began) {
    for (; sent < (passed / 1000) * RATE; sent += 1) {
      const device = `dev-${sent % DEVICES}` as DeviceId;
      last = journal.accept({ device, stream: 'climate', receivedAt: Date.now(), qos: 1, payload: PAYLOAD });
    }
    await new Promise((resolve) => setTimeout(resolve, TURN_MS));
  }
  await last;
  const delay = watch.stop();
  const { user, system } = process.threadCpuUsage(before);
  const busy = (user + system) / 10 / (performance.now() - began);
  const { newest } = journal.counters();
  // A sink that fell behind has cost less than it should have.
  const behind = Math.max(0, ...sinks.map((sink) => sink.status().position.distanceTo(newest)));
  return { ...delay, busy, behind };
}
