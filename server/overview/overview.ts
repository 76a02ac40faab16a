/** The state of a server in few numbers, for operators who look at it, and their history. Counts; decides nothing. */

import type { ServerHistory, ServerOverview } from '../../console/index.ts';
import type { Registry } from '../../registry/index.ts';
import { diskSpaceIn } from '../../storage/index.ts';
import type { ServerContext } from '../context.ts';
import type { Stores } from '../store-options.ts';
import { type CountedParts, readCounts } from './counts.ts';
import { CountHistory, SAMPLE_EVERY_MS } from './history.ts';

export interface OverviewParts extends Pick<CountedParts, 'broker' | 'nodes' | 'enroll'> {
  readonly expiry: { counters(): Readonly<Record<string, number>> };
  readonly stores: Pick<Stores, 'registry' | 'telemetry' | 'sinks'>;
  readonly context: Pick<ServerContext, 'config' | 'data' | 'metrics' | 'readiness' | 'now'>;
}

export interface OverviewMonitor {
  overview(): Promise<ServerOverview>;
  /** Of the last so many minutes. */
  history(minutes: number): ServerHistory;
  close(): Promise<void>;
}

const HOUR_MS = 3_600_000;
/** Reading so many entries of an index takes some milliseconds. */
const DEVICES_MOST = 100_000;
/** Devices are counted so often at most, however many operators look. */
const COUNT_EVERY_MS = 1_000;

export function createOverviewMonitor(parts: OverviewParts): OverviewMonitor {
  const { broker, nodes, enroll, expiry, stores, context } = parts;
  const { config, data, metrics, readiness, now } = context;
  const { registry, telemetry, sinks } = stores;
  const history = new CountHistory(() => readCounts({ broker, nodes, enroll, telemetry, metrics, now }));
  const startedAt = now();
  const timer = setInterval(() => history.sample(), SAMPLE_EVERY_MS).unref();
  const countDevices = rarely(() => registry.countDevices(DEVICES_MOST));
  return {
    overview: async () => {
      const { counts, rates, commitMs } = history.recent();
      const counted = broker.counters();
      const { isDiskLow, isHeld, isUnderPressure, heldDevices, heldGroups } = telemetry.counters();
      const [devices, isReady, { free }] = await Promise.all([
        countDevices(),
        readiness.isReady(),
        diskSpaceIn(data.telemetry),
      ]);
      return {
        startedAt,
        isReady,
        devices,
        devicesMost: DEVICES_MOST,
        sessions: {
          connected: counts.connected,
          pending: counted.pending_connections ?? 0,
          persistent: counted.persistent_sessions ?? 0,
        },
        perSecond: rates,
        refused: counts.refused,
        refusedLastHour: history.refusedSince(counts.at - HOUR_MS, counts),
        clonesSuspected: counted.clones_suspected ?? 0,
        journal: {
          state: isDiskLow ? 'disk full' : isHeld ? 'held' : isUnderPressure ? 'behind' : 'ok',
          queuedBytes: counts.queuedBytes,
          commitMs,
          diskFreeBytes: free,
          diskFloorBytes: config.telemetry.diskFloor,
          heldDevices,
          heldGroups,
        },
        sinks: sinks.list().map(({ name, state, reason, lagMessages, lagMs, deadLettered }) => {
          return { name, state, reason, lagMessages, lagSeconds: lagMs / 1000, deadLettered };
        }),
        expiring: expiringOf(expiry.counters()),
      };
    },
    history: (minutes) => history.series(now() - minutes * 60_000),
    close: async () => clearInterval(timer),
  };
}

/** Repeats a count only after some time. */
function rarely(count: () => ReturnType<Registry['countDevices']>): () => ReturnType<Registry['countDevices']> {
  let last: { readonly at: number; readonly found: ReturnType<Registry['countDevices']> } | undefined;
  return () => {
    const at = performance.now();
    if (last === undefined || at - last.at > COUNT_EVERY_MS) last = { at, found: count() };
    return last.found;
  };
}

/** From the gauges of the expiry monitor. */
function expiringOf(gauges: Readonly<Record<string, number>>): ServerOverview['expiring'] {
  return Object.keys(gauges)
    .filter((key) => key.startsWith('late/'))
    .map((key) => key.slice('late/'.length))
    .filter((kind) => (gauges[`late/${kind}`] ?? 0) + (gauges[`expiring/${kind},90d`] ?? 0) > 0)
    .map((kind) => {
      const next = gauges[`next_expiry/${kind}`];
      return {
        kind,
        in7Days: gauges[`expiring/${kind},7d`] ?? 0,
        in30Days: gauges[`expiring/${kind},30d`] ?? 0,
        late: gauges[`late/${kind}`] ?? 0,
        nextAt: next === undefined ? undefined : next * 1000,
      };
    });
}
