/** What `rollcall top` shows of several nodes that share a store: their sums, and each of them. Their rates are their own, of the last quarter of a minute. */

import type { ConsoleClient } from '../../console/client.ts';
import type { Counted, RefusalCount, ServerSnapshot } from './server-snapshot.ts';

export type FleetReading = Awaited<ReturnType<ConsoleClient['showFleet']>>;

type Figures = NonNullable<FleetReading['nodes'][number]['figures']>;
type FleetPart = Pick<
  ServerSnapshot,
  | 'sessions'
  | 'pendingConnections'
  | 'persistentSessions'
  | 'connects'
  | 'messages'
  | 'refusals'
  | 'journal'
  | 'sinks'
  | 'busiest'
  | 'nodes'
  | 'unanswered'
>;

/** Of one node, in the order of their names. Numbers are undefined where it did not answer, or does not run. */
export interface NodeRow {
  readonly name: string;
  readonly roles: readonly string[];
  readonly state: FleetReading['nodes'][number]['state'];
  readonly isReady: boolean | undefined;
  readonly sessions: number | undefined;
  readonly receivedPerSecond: number | undefined;
  readonly refusedPerSecond: number | undefined;
  /** Of the last half minute. */
  readonly commitP99Ms: number | undefined;
  readonly eventLoopLagMs: number | undefined;
  readonly eventLoopBusy: number | undefined;
  readonly journal: Figures['journal']['state'] | undefined;
}

const BUSIEST = 5;
const JOURNAL_STATES: readonly Figures['journal']['state'][] = ['disk full', 'held', 'behind', 'ok'];

/** Undefined where the server is alone, or no node has answered. */
export function fleetPart({ nodes, unanswered }: FleetReading): FleetPart | undefined {
  const all = nodes.flatMap(({ figures }) => (figures === undefined ? [] : [figures]));
  if (nodes.length < 2 || all.length === 0) return undefined;
  const sum = (of: (figures: Figures) => number) => all.reduce((total, figures) => total + of(figures), 0);
  const counted = (total: keyof Figures['totals']): Counted => ({
    total: sum(({ totals }) => totals[total]),
    perSecond: sum(({ perSecond }) => perSecond[total]),
  });
  return {
    sessions: sum(({ sessions }) => sessions.connected),
    pendingConnections: sum(({ sessions }) => sessions.pending),
    persistentSessions: sum(({ sessions }) => sessions.persistent),
    connects: counted('connects'),
    messages: {
      received: counted('received'),
      stored: counted('stored'),
      sent: counted('sent'),
      dropped: counted('dropped'),
    },
    refusals: refusalsOf(all),
    journal: journalOf(all, sum),
    sinks: (all.find(({ sinks }) => sinks !== undefined)?.sinks ?? []).map((sink) => ({
      ...{ name: sink.name, isUp: sink.state !== 'down', isUntrusted: sink.isUntrusted },
      ...{ lagMessages: sink.lagMessages, lagSeconds: sink.lagSeconds },
      forwarded: { total: sink.forwarded, perSecond: undefined },
    })),
    busiest: busiestOf(all),
    nodes: nodes.map(rowOf),
    unanswered,
  };
}

function rowOf({ name, roles, state, figures }: FleetReading['nodes'][number]): NodeRow {
  return {
    ...{ name, roles, state, isReady: figures?.isReady },
    sessions: figures?.sessions.connected,
    receivedPerSecond: figures?.perSecond.received,
    refusedPerSecond: figures?.perSecond.refused,
    commitP99Ms: figures?.journal.commitP99Ms,
    eventLoopLagMs: figures?.lagMs,
    eventLoopBusy: figures?.perSecond.busy,
    journal: figures?.journal.state,
  };
}

function refusalsOf(all: readonly Figures[]): readonly RefusalCount[] {
  const sums = new Map<string, RefusalCount & { readonly perSecond: number }>();
  for (const { by, reason, total, perSecond } of all.flatMap(({ refusals }) => refusals)) {
    const key = `${by}/${reason}`;
    const before = sums.get(key);
    const sum = { total: total + (before?.total ?? 0), perSecond: perSecond + (before?.perSecond ?? 0) };
    sums.set(key, { by, reason, ...sum });
  }
  return [...sums.values()].sort((one, other) => other.perSecond - one.perSecond || other.total - one.total);
}

/** The worst state, the mean time of all commits, and the least room. */
function journalOf(
  all: readonly Figures[],
  sum: (of: (figures: Figures) => number) => number,
): ServerSnapshot['journal'] {
  const worst = JOURNAL_STATES.find((state) => all.some(({ journal }) => journal.state === state)) ?? 'ok';
  const commits = sum(({ journal }) => journal.commitsPerSecond);
  const time = sum(({ journal }) => (journal.commitMs ?? 0) * journal.commitsPerSecond);
  return {
    state: worst,
    queuedBytes: sum(({ journal }) => journal.queuedBytes),
    commitMs: commits === 0 ? undefined : time / commits,
    diskFreeBytes: Math.min(...all.map(({ journal }) => journal.diskFreeBytes)),
  };
}

/** A device that moved has stored by several nodes. */
function busiestOf(all: readonly Figures[]): ServerSnapshot['busiest'] {
  const bytes = new Map<string, number>();
  for (const one of all.flatMap(({ busiest }) => busiest)) {
    bytes.set(one.device, (bytes.get(one.device) ?? 0) + one.bytes);
  }
  return [...bytes]
    .sort(([, one], [, other]) => other - one)
    .slice(0, BUSIEST)
    .map(([device, total]) => ({ device, bytesToday: { total, perSecond: undefined } }));
}
