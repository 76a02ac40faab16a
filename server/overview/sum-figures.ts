/** The numbers of several nodes as those of one fleet. */

import type { JournalFigures, NodeFigures, RefusedCounts, ServerRates, SinkFigures } from '../../console/index.ts';

export type FleetFigures = Pick<
  NodeFigures,
  'sessions' | 'perSecond' | 'refused' | 'refusedLastHour' | 'clonesSuspected' | 'journal'
> & { readonly sinks: readonly SinkFigures[] | undefined };

/** The worst first. */
const JOURNAL_STATES: readonly JournalFigures['state'][] = ['disk full', 'held', 'behind', 'ok'];

/** Of one node at least. */
export function sumOfFigures(all: readonly NodeFigures[]): FleetFigures {
  return {
    sessions: sumOf(all.map(({ sessions }) => sessions)),
    perSecond: ratesOf(all.map(({ perSecond }) => perSecond)),
    refused: sumOf<RefusedCounts>(all.map(({ refused }) => refused)),
    refusedLastHour: sumOf<RefusedCounts>(all.map(({ refusedLastHour }) => refusedLastHour)),
    clonesSuspected: all.reduce((sum, { clonesSuspected }) => sum + clonesSuspected, 0),
    journal: journalOf(all.map(({ journal }) => journal)),
    sinks: all.find(({ sinks }) => sinks !== undefined)?.sinks,
  };
}

/** Rates are added; the load is that of the busiest. */
function ratesOf(all: readonly ServerRates[]): ServerRates {
  return { ...sumOf(all), busy: Math.max(...all.map(({ busy }) => busy)) };
}

/** The state, the disk and the 99th percentile are those of the worst node, and the mean time that of all commits. */
function journalOf(all: readonly JournalFigures[]): JournalFigures {
  const sum = (of: (one: JournalFigures) => number) => all.reduce((total, one) => total + of(one), 0);
  const commitsPerSecond = sum((one) => one.commitsPerSecond);
  const [smallest] = all.toSorted((one, other) => roomOf(one) - roomOf(other)) as [JournalFigures];
  const p99s = all.flatMap(({ commitP99Ms }) => (commitP99Ms === undefined ? [] : [commitP99Ms]));
  return {
    state: JOURNAL_STATES.find((state) => all.some((one) => one.state === state)) ?? 'ok',
    queuedBytes: sum(({ queuedBytes }) => queuedBytes),
    commitsPerSecond,
    commitMs:
      commitsPerSecond === 0 ? undefined : sum((one) => (one.commitMs ?? 0) * one.commitsPerSecond) / commitsPerSecond,
    commitP99Ms: p99s.length === 0 ? undefined : Math.max(...p99s),
    diskFreeBytes: smallest.diskFreeBytes,
    diskFloorBytes: smallest.diskFloorBytes,
    heldDevices: sum(({ heldDevices }) => heldDevices),
    // Members of a group are on several nodes.
    heldGroups: Math.max(...all.map(({ heldGroups }) => heldGroups)),
  };
}

function roomOf({ diskFreeBytes, diskFloorBytes }: JournalFigures): number {
  return diskFreeBytes - diskFloorBytes;
}

function sumOf<Counts extends Readonly<Record<keyof Counts, number>>>(all: readonly Counts[]): Counts {
  const sum: Record<string, number> = {};
  for (const counts of all) {
    for (const [key, value] of Object.entries<number>(counts)) sum[key] = (sum[key] ?? 0) + value;
  }
  return sum as Counts;
}
