/** The rows of the bench: which load on which servers, and what is to be reached. */

import { type Bench, repeat, startAll, stopAll } from './bench.ts';
import { ca } from './ca.ts';
import { certificateStatus } from './certificate-status.ts';
import { cluster } from './cluster.ts';
import {
  alternate,
  type Burdened,
  type BurstSize,
  type Bursts,
  type Comparison,
  compare,
  ratiosOf,
} from './compare.ts';
import { publish } from './ingest.ts';
import { journal } from './journal.ts';
import type { RowName, Sizes } from './options.ts';
import { postgres } from './postgres-base.ts';
import { residentOf, untilQuiet } from './process-meter.ts';
import { type AtMost, comparisonResult, type Result, ratioGoals } from './results.ts';
import { revocation } from './revocation.ts';
import type { OwnName, PeerName, RunningServer, ServerName } from './servers.ts';
import { sinks } from './sinks.ts';
import { type Spread, spread } from './statistics.ts';
import { workers } from './workers.ts';

/** To reach. The peers do less: they look up no certificate and store nothing. */
const CONNECT_AT_MOST: AtMost = { rollcall: { mosquitto: 1.1 }, rollcallOnBun: { mosquitto: 0.85 } };
const MEMORY_AT_MOST: AtMost = { rollcall: { mosquitto: 2.4 }, rollcallOnBun: { mosquitto: 1.6 } };
const ENROLLMENTS_PER_CORE_SECOND = 300;

/** Bursts before the first that counts. */
const WARM_UPS = 10;
/** Handshakes and enrollments at once: enough to keep a server busy, few enough not to wait in line. */
const IN_FLIGHT = 16;
/**
 * Before the connections that are measured a server holds this share of them already: what it allocates once, when its
 * first connections come, is not what a connection costs.
 */
const HELD_BEFORE = 1 / 4;
/** Each collection lets V8 give back pages that the one before it has emptied. */
const COLLECTIONS = 3;

export const ROW: Readonly<Record<RowName, (bench: Bench) => Promise<readonly Result[]>>> = {
  enroll,
  connect,
  publish,
  workers,
  memory,
  revoke: revocation,
  status: certificateStatus,
  ca,
  journal,
  sinks,
  postgres,
  cluster,
};

/** How many devices a row needs. */
export function devicesFor(row: RowName, sizes: Sizes): number {
  switch (row) {
    case 'sinks':
    case 'postgres':
    case 'journal':
      return 0;
    case 'enroll':
      return 0; // it makes its own
    case 'connect':
    case 'workers':
      return (sizes.connectRounds + WARM_UPS) * sizes.connects; // each connects once: no session is resumed
    case 'publish':
    case 'ca':
      return sizes.publishers;
    case 'memory':
      return held(sizes) + sizes.idle;
    case 'revoke':
      return sizes.connected;
    case 'cluster':
    case 'status':
      return (sizes.connectRounds + WARM_UPS) * sizes.connects;
  }
}

/** Makes the devices that the other rows need. */
export async function enrollDevices({ servers, load, mint }: Bench, count: number): Promise<void> {
  const rollcall = await servers.startRollcall();
  const token = await mint(rollcall.socketPath);
  const port = rollcall.enrollPort;
  const inFlight = IN_FLIGHT;
  await load.order({ kind: 'enroll', port, token, count, inFlight, connections: 'reused', devices: 'stored' });
  await rollcall.stop();
  servers.copyData();
}

async function enroll({ sizes, servers, load, mint }: Bench): Promise<readonly Result[]> {
  const count = sizes.enrollments;
  const size: BurstSize = { warmUps: WARM_UPS, rounds: sizes.rounds, count };
  const over: Record<'new' | 'reused', Bursts[]> = { new: [], reused: [] };
  await repeat(sizes.processes, async () => {
    const rollcall = await servers.startRollcall();
    const token = await mint(rollcall.socketPath);
    const order = { kind: 'enroll', port: rollcall.enrollPort, token, count, inFlight: IN_FLIGHT } as const;
    for (const connections of ['new', 'reused'] as const) {
      const enrolling = () => load.order({ ...order, connections, devices: 'discarded' });
      over[connections].push(await alternate([rollcall], size, enrolling));
    }
    await rollcall.stop();
  });
  return [
    enrollmentResult('enrollment, each over a new TLS connection', compare(over.new)),
    enrollmentResult('enrollment, over reused connections', compare(over.reused)),
  ];
}

function enrollmentResult(row: string, comparison: Comparison): Result {
  const result = comparisonResult(row, comparison, {});
  const perCoreSecond = 1e6 / (result.figures.rollcall as Spread).median;
  const reached = perCoreSecond >= ENROLLMENTS_PER_CORE_SECOND;
  return {
    ...result,
    goals: [{ text: `at least ${ENROLLMENTS_PER_CORE_SECOND} per second and core`, reached }],
    remarks: [`${perCoreSecond.toFixed(0)} per second and core`, ...result.remarks],
  };
}

async function connect({ sizes, servers, load }: Bench): Promise<readonly Result[]> {
  const count = sizes.connects;
  const size: BurstSize = { warmUps: WARM_UPS, rounds: sizes.connectRounds, count };
  const bursts: Bursts[] = [];
  await repeat(sizes.processes, async () => {
    const running = await startAll(servers);
    const connecting = ({ mqttPort }: Burdened<ServerName>) =>
      load.order({ kind: 'connect', port: mqttPort, count, inFlight: IN_FLIGHT });
    bursts.push(await alternate(running, size, connecting));
    await stopAll(running);
  });
  const row = 'mTLS connect: handshake, CONNECT, CONNACK, close; each device once';
  return [comparisonResult(row, compare(bursts), CONNECT_AT_MOST)];
}

/** Always on a fresh server: one that had as many connections before has their memory still. */
async function memory({ sizes, servers, load }: Bench): Promise<readonly Result[]> {
  const samples: Partial<Record<ServerName, number[]>> = {};
  await repeat(sizes.processes, async () => {
    for (const name of servers.names) {
      const server = await servers.start(name);
      const opening = { kind: 'open', as: name, port: server.mqttPort } as const;
      await load.order({ ...opening, count: held(sizes) });
      const before = await settledMemory(server);
      await load.order({ ...opening, count: sizes.idle });
      const after = await settledMemory(server);
      await load.order({ kind: 'close', as: name });
      await server.stop();
      samples[name] ??= [];
      samples[name].push((after - before) / sizes.idle / 1024);
    }
  });
  const each = (of: readonly number[]) => spread(of.map((sample) => [sample]));
  const figures = mapValues(samples, each);
  const ratios = ratiosOf(samples, (own: OwnName, peer: PeerName) => {
    const ours = samples[own] ?? [];
    return each((samples[peer] ?? []).map((sample, at) => (ours[at] as number) / sample));
  });
  return [
    {
      row: `memory per idle device, of ${sizes.idle}`,
      unit: 'KiB resident',
      figures,
      ratios,
      goals: ratioGoals(ratios, MEMORY_AT_MOST),
      remarks: [],
    },
  ];
}

async function settledMemory(server: RunningServer): Promise<number> {
  await untilQuiet(server.pid);
  for (let collection = 0; server.collectsGarbage && collection < COLLECTIONS; collection += 1) {
    process.kill(server.pid, 'SIGUSR2');
    await untilQuiet(server.pid);
  }
  return residentOf(server.pid);
}

function held(sizes: Sizes): number {
  return Math.round(sizes.idle * HELD_BEFORE);
}

function mapValues<T, U>(of: Partial<Record<ServerName, T>>, change: (value: T) => U): Partial<Record<ServerName, U>> {
  return Object.fromEntries(Object.entries(of).map(([name, value]) => [name, change(value as T)]));
}
