/**
 * Measures the same load on several servers so that noise hits all alike: short bursts alternate between them, each round
 * in another order, and a ratio is computed inside a round, between bursts close in time. Bursts before a server is warm
 * are not counted. All of that is repeated with fresh processes.
 */

import type { LoadReport } from './load/orders.ts';
import { cpuOf, untilQuiet } from './process-meter.ts';
import { OWN_NAMES, type OwnName, PEER_NAMES, type PeerName, type RunningServer, type ServerName } from './servers.ts';
import { type Spread, spread } from './statistics.ts';

/** One server under one load. CPU in microseconds per operation. */
export interface Measured {
  readonly cpu: Spread;
  readonly perSecond: Spread;
  /** CPU of the load generator per operation. */
  readonly loadCpu: Spread;
  /** Shares of one core that server and load generator used while the load ran. */
  readonly serverBusy: Spread;
  readonly loadBusy: Spread;
}

/** Rollcall's figure over the peer's, by the runtime of Rollcall and the peer. */
export type Ratios = Partial<Record<OwnName, Partial<Record<PeerName, Spread>>>>;

export interface Comparison {
  readonly measured: Partial<Record<ServerName, Measured>>;
  readonly ratios: Ratios;
}

interface Burst {
  readonly cpu: number;
  readonly perSecond: number;
  readonly loadCpu: number;
  readonly serverBusy: number;
  readonly loadBusy: number;
}

/** The bursts of one set of processes; those of one round have the same index. */
export type Bursts<Name extends string = ServerName> = ReadonlyMap<Name, readonly Burst[]>;

/** A server under load: what is needed of it here. */
export type Burdened<Name extends string> = Pick<RunningServer, 'pid' | 'mqttPort'> & { readonly name: Name };

export interface BurstSize {
  /** Warm-up bursts before the first that is counted: most code is compiled by then. */
  readonly warmUps: number;
  readonly rounds: number;
  /** Operations per burst. */
  readonly count: number;
}

export async function alternate<Name extends string>(
  servers: readonly Burdened<Name>[],
  { warmUps, rounds, count }: BurstSize,
  load: (server: Burdened<Name>) => Promise<LoadReport>,
): Promise<Bursts<Name>> {
  for (let warmUp = 0; warmUp < warmUps; warmUp += 1) {
    for (const server of servers) await load(server);
  }
  for (const { pid } of servers) await untilQuiet(pid);
  const bursts = new Map<Name, Burst[]>(servers.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (let place = 0; place < servers.length; place += 1) {
      const server = servers[(round + place) % servers.length] as Burdened<Name>;
      bursts.get(server.name)?.push(await measure(server, count, load));
    }
  }
  return bursts;
}

export function compare(processes: readonly Bursts[]): Comparison {
  const of = (name: ServerName) => processes.map((bursts) => bursts.get(name) ?? []);
  const measured: Partial<Record<ServerName, Measured>> = {};
  for (const name of processes[0]?.keys() ?? []) {
    const theirs = of(name);
    const figure = (which: keyof Burst) => spread(theirs.map((bursts) => bursts.map((burst) => burst[which])));
    measured[name] = {
      cpu: figure('cpu'),
      perSecond: figure('perSecond'),
      loadCpu: figure('loadCpu'),
      serverBusy: figure('serverBusy'),
      loadBusy: figure('loadBusy'),
    };
  }
  const ratios = ratiosOf(measured, (own, peer) => {
    const ours = of(own);
    return spread(of(peer).map((bursts, process) => overEach(ours[process], bursts)));
  });
  return { measured, ratios };
}

/** The ratio of each runtime and each peer that were measured. */
export function ratiosOf(
  measured: Partial<Record<ServerName, unknown>>,
  ratio: (own: OwnName, peer: PeerName) => Spread,
): Ratios {
  const isMeasured = (name: ServerName) => measured[name] !== undefined;
  return Object.fromEntries(
    OWN_NAMES.filter(isMeasured).map((own) => [
      own,
      Object.fromEntries(PEER_NAMES.filter(isMeasured).map((peer) => [peer, ratio(own, peer)])),
    ]),
  );
}

/** Our CPU over theirs, round by round. */
export function overEach(ours: readonly Burst[] | undefined, theirs: readonly Burst[]): readonly number[] {
  return theirs.map(({ cpu }, round) => (ours?.[round]?.cpu ?? Number.NaN) / cpu);
}

async function measure<Name extends string>(
  server: Burdened<Name>,
  count: number,
  load: (server: Burdened<Name>) => Promise<LoadReport>,
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
