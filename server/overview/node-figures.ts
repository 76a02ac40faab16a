/** What this process counts of itself: one row of the fleet, and all numbers of a server that is alone. Reads; decides nothing. */

import type { NodeFigures, SinkFigures } from '../../console/index.ts';
import { diskSpaceIn } from '../../storage/index.ts';
import type { ServerContext } from '../context.ts';
import type { Stores } from '../store-options.ts';
import { type CountedParts, readCounts } from './counts.ts';
import { EventLoopLag } from './event-loop-lag.ts';
import { CountHistory, SAMPLE_EVERY_MS } from './history.ts';
import { countRefusals, ratedRefusals } from './refusal-totals.ts';

export interface FigureParts extends Pick<CountedParts, 'broker' | 'nodes' | 'enroll'> {
  readonly stores: Pick<Stores, 'telemetry' | 'sinks'>;
  readonly context: Pick<ServerContext, 'config' | 'cluster' | 'data' | 'metrics' | 'readiness' | 'now'>;
}

export interface NodeFiguresMonitor {
  read(): Promise<NodeFigures>;
  readonly history: CountHistory;
  close(): void;
}

const HOUR_MS = 3_600_000;
const BUSIEST = 5;
const PERCENT = 99;

export function monitorFigures(parts: FigureParts): NodeFiguresMonitor {
  const { broker, nodes, enroll, stores, context } = parts;
  const { config, cluster, data, metrics, readiness, now } = context;
  // With a shared store the journal is in the database, and this disk has what else the node writes.
  const disk = cluster === undefined ? data.telemetry : data.path;
  const floor = cluster === undefined ? config.telemetry.diskFloor : 0;
  const { telemetry, sinks } = stores;
  const history = new CountHistory(() => readCounts({ broker, nodes, enroll, telemetry, metrics, now }));
  const startedAt = now();
  const lag = new EventLoopLag();
  const readRefusals = () => ({ at: now(), counts: countRefusals(broker.counters(), enroll.counters()) });
  // Those of the last two samples: rates are since the older one, as those of the history are.
  let refusals = [readRefusals()];
  const timer = setInterval(() => {
    history.sample();
    refusals = [...refusals.slice(-1), readRefusals()];
    lag.times.rotate();
    metrics.commitTimes.rotate();
  }, SAMPLE_EVERY_MS).unref();

  const read = async (): Promise<NodeFigures> => {
    const { counts, rates, commitsPerSecond, commitMs } = history.recent();
    const counted = broker.counters();
    const { isDiskLow, isHeld, isUnderPressure, heldDevices, heldGroups } = telemetry.counters();
    const [isReady, { free }] = await Promise.all([readiness.isReady(), diskSpaceIn(disk)]);
    const { connects, received, stored, sent, dropped, refused, connected, queuedBytes, at } = counts;
    const before = refusals[0] ?? readRefusals();
    return {
      startedAt,
      isReady,
      sessions: {
        connected,
        pending: counted.pending_connections ?? 0,
        persistent: counted.persistent_sessions ?? 0,
      },
      perSecond: rates,
      totals: { connects, received, stored, sent, dropped },
      refused,
      refusedLastHour: history.refusedSince(at - HOUR_MS, counts),
      refusals: ratedRefusals(readRefusals().counts, before.counts, (at - before.at) / 1_000),
      clonesSuspected: counted.clones_suspected ?? 0,
      journal: {
        state: isDiskLow ? 'disk full' : isHeld ? 'held' : isUnderPressure ? 'behind' : 'ok',
        ...{ queuedBytes, commitsPerSecond, commitMs, commitP99Ms: metrics.commitTimes.percentile(PERCENT) },
        diskFreeBytes: free,
        diskFloorBytes: floor,
        ...{ heldDevices, heldGroups },
      },
      lagMs: lag.times.percentile(PERCENT),
      sinks: sinks.runHere ? sinks.list().map(sinkFigures) : undefined,
      busiest: telemetry.shares.largest(BUSIEST).map(({ name, bytes }) => ({ device: name, bytes })),
    };
  };
  return {
    read,
    history,
    close() {
      clearInterval(timer);
      lag.close();
    },
  };
}

export function sinkFigures(sink: ReturnType<Stores['sinks']['list']>[number]): SinkFigures {
  const { name, state, reason, isUntrusted, lagMessages, lagMs, forwarded, deadLettered } = sink;
  return { name, state, reason, isUntrusted, lagMessages, lagSeconds: lagMs / 1000, forwarded, deadLettered };
}
