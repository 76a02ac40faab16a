/**
 * MQTT by several threads beside one: servers with 1, 2 and 4 workers take turns. What a connect and a message cost over the server with
 * one worker, which is the main thread; the time to the PUBACK at a rate that all of them carry; memory, and the time of a start.
 */

import { join } from 'node:path';
import { type Bench, repeat } from './bench.ts';
import { alternate, type BurstSize, type Bursts, overEach } from './compare.ts';
import type { LoadReport } from './load/orders.ts';
import type { Sizes } from './options.ts';
import { mainThreadCpuOf, residentOf, untilQuiet } from './process-meter.ts';
import type { Goal, Result } from './results.ts';
import { copyDirectory, type RunningRollcall, type Servers } from './servers.ts';
import { percentile, type Spread, spread } from './statistics.ts';

/** Of workers. */
const COUNTS = [1, 2, 4] as const;
type Name = `${(typeof COUNTS)[number]}`;
const NAMES = COUNTS.map((count) => `${count}` as const);

const CPU_AT_MOST = 1.25;
const P99_AT_MOST = 1;
const CONNECTS_IN_FLIGHT = 16;
/** Of what one worker carries at most: the load generator is on the same cores, and has to keep its schedule. */
const PACED_PART = 1 / 3;
const PACED_SECONDS = 2;
const PACED_TURNS = 3;
const STARTS = 3;

interface Load {
  readonly row: string;
  /** Messages in flight on each connection; undefined: connects. */
  readonly inFlight: number | undefined;
  readonly size: (sizes: Sizes) => BurstSize;
}

const LOADS: readonly Load[] = [
  {
    row: 'mTLS connect',
    inFlight: undefined,
    size: ({ connectRounds, connects }) => ({ warmUps: 10, rounds: connectRounds, count: connects }),
  },
  {
    row: 'durable QoS 1 ingest, one in flight',
    inFlight: 1,
    size: ({ rounds, messages }) => ({ warmUps: 5, rounds, count: messages }),
  },
  {
    row: 'durable QoS 1 ingest, ten in flight',
    inFlight: 10,
    size: ({ rounds, messages }) => ({ warmUps: 5, rounds, count: messages * 3 }),
  },
];

interface Server extends Omit<RunningRollcall, 'name'> {
  readonly name: Name;
}

/** Samples of each process, by workers. */
type Samples = Map<Name, number[]>;

/** What one load showed on one set of processes. */
interface Round {
  readonly bursts: Bursts<Name>;
  /** Microseconds of CPU of the main thread for one operation. */
  readonly mainThread: Samples;
}

export async function workers(bench: Bench): Promise<readonly Result[]> {
  const { sizes, servers, load } = bench;
  const starting = starterOf(servers);
  const rounds = LOADS.map((): Round[] => []);
  const paced = { p50: samples(), p99: samples() };
  const { startMs, residentMiB } = await starts(starting);
  await repeat(sizes.processes, async () => {
    const running: Server[] = [];
    for (const name of NAMES) running.push(await starting(name));
    for (const [at, one] of LOADS.entries()) {
      // After the connects, which would take over sessions of the same devices.
      if (one.inFlight === 1) await openAll(bench, running);
      rounds[at]?.push(await measure(bench, running, one));
    }
    await pace(bench, running, paced);
    for (const { name, stop } of running) {
      await load.order({ kind: 'close', as: name });
      await stop();
    }
  });
  return [
    ...LOADS.flatMap(({ row }, at) => cpuResults(row, rounds[at] ?? [])),
    ...latencyResults(paced),
    ...memoryResults(residentMiB),
    ...each(startMs, (workersText, figure) => result(`start until ready, ${workersText}`, 'ms', figure)),
  ];
}

/** Each on a data directory of its own, because they run at the same time. */
function starterOf(servers: Servers): (name: Name) => Promise<Server> {
  const copyOf = (name: Name) => join(servers.directory, `data-${name}-workers`);
  for (const name of NAMES) copyDirectory(servers.data, copyOf(name));
  return async (name) => ({
    ...(await servers.startRollcall({ data: copyOf(name), workers: Number(name) })),
    name,
  });
}

async function starts(starting: (name: Name) => Promise<Server>) {
  const [startMs, residentMiB] = [samples(), samples()];
  await repeat(STARTS, async () => {
    for (const name of NAMES) {
      const began = performance.now();
      const { pid, stop } = await starting(name);
      startMs.get(name)?.push(performance.now() - began);
      await untilQuiet(pid);
      residentMiB.get(name)?.push(residentOf(pid) / 1_048_576);
      await stop();
    }
  });
  return { startMs, residentMiB };
}

async function openAll({ sizes, load }: Bench, running: readonly Server[]): Promise<void> {
  for (const { name, mqttPort } of running) {
    await load.order({ kind: 'open', as: name, port: mqttPort, count: sizes.publishers });
  }
}

async function measure({ sizes, load }: Bench, running: readonly Server[], { inFlight, size }: Load): Promise<Round> {
  const { warmUps, rounds, count } = size(sizes);
  const mainThread = samples();
  const bursts = await alternate<Name>(running, { warmUps, rounds, count }, async ({ name, pid, mqttPort }) => {
    const before = mainThreadCpuOf(pid);
    let report: LoadReport;
    if (inFlight === undefined) {
      report = await load.order({ kind: 'connect', port: mqttPort, count, inFlight: CONNECTS_IN_FLIGHT });
    } else {
      report = await load.order({ kind: 'publish', as: name, topic: 'telemetry', count, inFlight });
    }
    mainThread.get(name)?.push((mainThreadCpuOf(pid) - before) / count);
    return report;
  });
  for (const [name, all] of mainThread) mainThread.set(name, all.slice(warmUps));
  return { bursts, mainThread };
}

/** All at the same rate, in turns. */
async function pace(
  { sizes, load }: Bench,
  running: readonly Server[],
  found: { readonly p50: Samples; readonly p99: Samples },
): Promise<void> {
  const full = { kind: 'publish', as: '1', topic: 'telemetry', count: sizes.messages, inFlight: 1 } as const;
  const { wallMs } = await load.order(full);
  const perSecond = (sizes.messages / wallMs) * 1000 * PACED_PART;
  const order = { kind: 'pace', topic: 'telemetry', count: Math.round(perSecond * PACED_SECONDS), perSecond } as const;
  for (let turn = 0; turn < PACED_TURNS; turn += 1) {
    for (let place = 0; place < running.length; place += 1) {
      const { name } = running[(turn + place) % running.length] as Server;
      const { samples: times = [] } = await load.order({ ...order, as: name });
      found.p50.get(name)?.push(percentile(times, 50));
      found.p99.get(name)?.push(percentile(times, 99));
    }
  }
}

function cpuResults(row: string, rounds: readonly Round[]): readonly Result[] {
  const of = (name: Name) => rounds.map(({ bursts }) => bursts.get(name) ?? []);
  const one = of('1');
  return NAMES.map((name) => {
    const own = of(name);
    const figure = (pick: (burst: (typeof own)[number][number]) => number) => spread(own.map((all) => all.map(pick)));
    const mainThread = spread(rounds.map((round) => round.mainThread.get(name) ?? [])).median;
    const ratio = spread(own.map((bursts, process) => overEach(bursts, one[process] ?? [])));
    const remark = `the main thread uses ${mainThread.toFixed(1)} µs of it`;
    return {
      ...result(
        `${row}, ${textOf(name)}`,
        'µs CPU',
        figure(({ cpu }) => cpu),
      ),
      ...(name !== '1' && { goals: [atMost(ratio, CPU_AT_MOST)] }),
      perSecond: { rollcall: figure(({ perSecond }) => perSecond).median },
      load: {
        rollcall: {
          cpu: figure(({ loadCpu }) => loadCpu).median,
          serverBusy: figure(({ serverBusy }) => serverBusy).median,
          loadBusy: figure(({ loadBusy }) => loadBusy).median,
        },
      },
      remarks: name === '1' ? [] : [`${timesText(ratio)} one worker; ${remark}`],
    };
  });
}

function latencyResults({ p50, p99 }: { readonly p50: Samples; readonly p99: Samples }): readonly Result[] {
  const one = p99.get('1') ?? [];
  return [
    ...each(p50, (workersText, figure) =>
      result(`PUBLISH to PUBACK at a steady rate, p50, ${workersText}`, 'ms', figure),
    ),
    ...each(p99, (workersText, figure, own) => {
      const ratio = spread([own.map((value, turn) => value / (one[turn] as number))]);
      const row = result(`PUBLISH to PUBACK at a steady rate, p99, ${workersText}`, 'ms', figure);
      if (own === one) return row;
      return { ...row, goals: [atMost(ratio, P99_AT_MOST)], remarks: [`${timesText(ratio)} one worker`] };
    }),
  ];
}

function memoryResults(residentMiB: Samples): readonly Result[] {
  const median = (name: Name) => percentile(residentMiB.get(name) ?? [], 50);
  const perWorker = (median('4') - median('2')) / 2;
  return each(residentMiB, (workersText, figure, own) => ({
    ...result(`memory after the start, ${workersText}`, 'MiB resident', figure),
    remarks: own === residentMiB.get('4') ? [`${perWorker.toFixed(0)} MiB for each worker above two`] : [],
  }));
}

function each(
  of: Samples,
  resultOf: (workersText: string, figure: Spread, own: readonly number[]) => Result,
): readonly Result[] {
  return [...of].map(([name, own]) => resultOf(textOf(name), spread(own.map((sample) => [sample])), own));
}

function result(row: string, unit: string, figure: Spread): Result {
  return { row, unit, figures: { rollcall: figure }, ratios: {}, goals: [], remarks: [] };
}

function atMost(ratio: Spread, most: number): Goal {
  return { text: `at most ${most} × one worker`, reached: ratio.median <= most };
}

function timesText({ median, low, high }: Spread): string {
  return `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)}) ×`;
}

function textOf(name: Name): string {
  return name === '1' ? '1 worker' : `${name} workers`;
}

function samples(): Samples {
  return new Map(NAMES.map((name) => [name, []]));
}
