/** Results of a row of the bench, before they are formatted as a table. */

import type { Comparison, Measured, Ratios } from './compare.ts';
import { OWN_NAMES, type OwnName, PEER_NAMES, type PeerName, type ServerName } from './servers.ts';
import type { Spread } from './statistics.ts';

export interface Goal {
  /** `at most 1.1 x aedes` */
  readonly text: string;
  readonly reached: boolean;
}

export interface Result {
  readonly row: string;
  /** What the figures count: `µs CPU`. */
  readonly unit: string;
  readonly figures: Partial<Record<ServerName, Spread>>;
  readonly ratios: Ratios;
  readonly goals: readonly Goal[];
  /** Operations per second, seen from outside. */
  readonly perSecond?: Partial<Record<ServerName, number>>;
  /** What the load generator did meanwhile. */
  readonly load?: Partial<Record<ServerName, LoadShare>>;
  readonly remarks: readonly string[];
}

export interface LoadShare {
  /** Microseconds per operation. */
  readonly cpu: number;
  readonly serverBusy: number;
  readonly loadBusy: number;
}

/** The ratios to reach, by runtime and peer. */
export type AtMost = Partial<Record<OwnName, Partial<Record<PeerName, number>>>>;

/** Above this share of a core a process has no time left. */
const SATURATED = 0.9;

export function comparisonResult(row: string, { measured, ratios }: Comparison, atMost: AtMost): Result {
  const each = <T>(pick: (of: Measured) => T) =>
    Object.fromEntries(Object.entries(measured).map(([name, of]) => [name, pick(of)])) as Partial<
      Record<ServerName, T>
    >;
  return {
    row,
    unit: 'µs CPU',
    figures: each((of) => of.cpu),
    ratios,
    goals: ratioGoals(ratios, atMost),
    perSecond: each((of) => of.perSecond.median),
    load: each((of) => ({
      cpu: of.loadCpu.median,
      serverBusy: of.serverBusy.median,
      loadBusy: of.loadBusy.median,
    })),
    remarks: Object.entries(measured).flatMap(([name, of]) => loadRemarks(name, of)),
  };
}

export function ratioGoals(ratios: Ratios, atMost: AtMost): readonly Goal[] {
  return OWN_NAMES.flatMap((own) =>
    PEER_NAMES.flatMap((peer) => {
      const bound = atMost[own]?.[peer];
      const ratio = ratios[own]?.[peer];
      if (bound === undefined || ratio === undefined) return [];
      const runtime = own === 'rollcall' ? '' : 'on Bun ';
      return [{ text: `${runtime}at most ${bound} × ${peer}`, reached: ratio.median <= bound }];
    }),
  );
}

function loadRemarks(name: string, { cpu, loadCpu, loadBusy, serverBusy }: Measured): readonly string[] {
  if (loadBusy.median >= SATURATED && loadBusy.median > serverBusy.median) {
    return [
      `${name} waited for the load generator, which was the bottleneck: its operations per second are a lower bound`,
    ];
  }
  if (loadCpu.median > cpu.median) return [`an operation on ${name} cost the load generator more than the server`];
  return [];
}
