/**
 * Measures the same load on several servers so that noise hits all alike: bursts alternate between them, each round in
 * another order, and a ratio is taken inside a round, between neighbours in time. What a server does before it is warm isn't counted.
 */

import type { LoadReport } from './load/orders.ts';
import { cpuOf, untilQuiet } from './process-meter.ts';
import type { RunningServer, ServerName } from './servers.ts';
import { type Spread, spread } from './statistics.ts';

/** One server under one load. CPU in microseconds per operation. */
export interface Measured {
  readonly cpu: Spread;
  readonly perSecond: Spread;
  /** What an operation cost the load generator. */
  readonly loadCpu: Spread;
  /** Shares of one core that server and load generator used while the load ran. */
  readonly serverBusy: number;
  readonly loadBusy: number;
}

export interface Comparison {
  readonly measured: Partial<Record<ServerName, Measured>>;
  /** Rollcall's CPU per operation over the peer's. */
  readonly ratios: Partial<Record<ServerName, Spread>>;
}

interface Burst {
  readonly cpu: number;
  readonly perSecond: number;
  readonly loadCpu: number;
  readonly serverBusy: number;
  readonly loadBusy: number;
}

/** Bursts that a server has behind it before one is counted: most of its code is compiled by then. */
export const WARM_UPS = 10;

export async function compare(
  servers: readonly RunningServer[],
  size: { readonly rounds: number; readonly count: number },
  load: (server: RunningServer) => Promise<LoadReport>,
): Promise<Comparison> {
  const bursts = new Map<ServerName, Burst[]>(servers.map(({ name }) => [name, []]));
  for (let warmUp = 0; warmUp < WARM_UPS; warmUp += 1) {
    for (const server of servers) await load(server);
  }
  for (const { pid } of servers) await untilQuiet(pid);
  for (let round = 0; round < size.rounds; round += 1) {
    for (let place = 0; place < servers.length; place += 1) {
      const server = servers[(round + place) % servers.length] as RunningServer;
      bursts.get(server.name)?.push(await measure(server, size.count, load));
    }
  }
  const measured: Partial<Record<ServerName, Measured>> = {};
  const ratios: Partial<Record<ServerName, Spread>> = {};
  const ours = bursts.get('rollcall');
  for (const [name, samples] of bursts) {
    measured[name] = summary(samples);
    if (name === 'rollcall' || ours === undefined) continue;
    ratios[name] = spread(samples.map((theirs, round) => (ours[round] as Burst).cpu / theirs.cpu));
  }
  return { measured, ratios };
}

async function measure(
  server: RunningServer,
  count: number,
  load: (server: RunningServer) => Promise<LoadReport>,
): Promise<Burst> {
  const before = cpuOf(server.pid);
  const { wallMs, cpuMicros } = await load(server);
  const during = cpuOf(server.pid) - before;
  await untilQuiet(server.pid);
  const used = cpuOf(server.pid) - before;
  return {
    cpu: used / count,
    perSecond: (count / wallMs) * 1000,
    loadCpu: cpuMicros / count,
    serverBusy: during / 1000 / wallMs,
    loadBusy: cpuMicros / 1000 / wallMs,
  };
}

function summary(samples: readonly Burst[]): Measured {
  const of = (figure: keyof Burst) => spread(samples.map((sample) => sample[figure]));
  return {
    cpu: of('cpu'),
    perSecond: of('perSecond'),
    loadCpu: of('loadCpu'),
    serverBusy: of('serverBusy').median,
    loadBusy: of('loadBusy').median,
  };
}
