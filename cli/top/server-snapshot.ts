/**
 * What `rollcall top` shows: computed from the health of a server and from two readings of its metrics, and from the numbers of all nodes where
 * several share a store. Times are ISO 8601.
 */

import { Problem } from '@rollcall/protocol';
import type { ConsoleClient } from '../../console/client.ts';
import { type FleetReading, fleetPart, type NodeRow } from './fleet-snapshot.ts';
import { MetricSamples } from './metric-samples.ts';
import type { NewestRefusal } from './newest-refusals.ts';

type Health = Awaited<ReturnType<ConsoleClient['health']>>;

export interface ServerReading {
  readonly health: Health;
  readonly metrics: MetricSamples;
  readonly fleet: FleetReading;
  /** Milliseconds of a monotonic clock. */
  readonly at: number;
}

/** Since the start of the server, and a second since the reading before; undefined for the first reading. */
export interface Counted {
  readonly total: number;
  readonly perSecond: number | undefined;
}

export interface RefusalCount extends Counted {
  readonly by: 'mqtt' | 'est' | 'policy';
  readonly reason: string;
}

export interface SinkState {
  readonly name: string;
  readonly isUp: boolean;
  readonly isUntrusted: boolean;
  readonly lagMessages: number;
  readonly lagSeconds: number;
  readonly forwarded: Counted;
}

export interface ExpiryCount {
  readonly kind: string;
  readonly in7Days: number;
  readonly in30Days: number;
  readonly late: number;
  readonly next: string | undefined;
}

/** The sums of all nodes that answered; status, readiness and uptime are those of the node that was asked. */
export interface ServerSnapshot {
  /** That was asked. */
  readonly node: string;
  /** None where the server is alone. */
  readonly nodes: readonly NodeRow[];
  /** Nodes that run and did not answer in time. */
  readonly unanswered: readonly string[];
  readonly time: string;
  readonly version: string;
  readonly status: Health['status'];
  readonly isReady: boolean;
  readonly uptimeSeconds: number;
  readonly sessions: number;
  readonly pendingConnections: number;
  readonly persistentSessions: number;
  readonly connects: Counted;
  readonly messages: Readonly<Record<'received' | 'stored' | 'sent' | 'dropped', Counted>>;
  readonly refusals: readonly RefusalCount[];
  readonly newestRefusals: readonly NewestRefusal[];
  readonly journal: {
    readonly state: Health['telemetry'] | 'held';
    /** Bytes that wait to be stored. */
    readonly queuedBytes: number;
    /** Mean from receipt to acknowledgement, of the commits since the reading before; undefined without commits. */
    readonly commitMs: number | undefined;
    readonly diskFreeBytes: number;
  };
  readonly sinks: readonly SinkState[];
  readonly expiring: readonly ExpiryCount[];
  /** The devices that stored most today. */
  readonly busiest: readonly { readonly device: string; readonly bytesToday: Counted }[];
}

export async function readServer(server: ConsoleClient): Promise<ServerReading> {
  const [health, text, fleet] = await Promise.all([server.health(), server.metrics(), readFleet(server)]);
  return { health, metrics: new MetricSamples(text), fleet, at: performance.now() };
}

/** A server of an older release tells nothing of others. */
async function readFleet(server: ConsoleClient): Promise<FleetReading> {
  try {
    return await server.showFleet();
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'not_found') throw error;
    return { time: '', version: '', node: '', nodes: [], unanswered: [] };
  }
}

export function snapshotOf(
  reading: ServerReading,
  before: ServerReading | undefined,
  newestRefusals: readonly NewestRefusal[],
): ServerSnapshot {
  const { health, metrics, fleet } = reading;
  const counted = countingSince(reading, before);
  return {
    node: fleet.node,
    ...{ nodes: [], unanswered: [] },
    time: health.time,
    version: health.version,
    status: health.status,
    isReady: metrics.value('rollcall_ready') === 1,
    uptimeSeconds: Math.max(0, Date.parse(health.time) / 1000 - metrics.value('rollcall_start_time_seconds')),
    sessions: metrics.value('rollcall_sessions'),
    pendingConnections: metrics.value('rollcall_pending_connections'),
    persistentSessions: metrics.value('rollcall_persistent_sessions'),
    connects: counted('rollcall_connections_accepted_total'),
    messages: {
      received: counted('rollcall_messages_received_total'),
      stored: counted('rollcall_telemetry_stored_total'),
      sent: counted('rollcall_messages_forwarded_total'),
      dropped: counted('rollcall_messages_dropped_total'),
    },
    refusals: REFUSAL_METRICS.flatMap(({ by, name, label }) =>
      metrics.all(name).map(({ labels }) => {
        const reason = labels[label] ?? '';
        return { by, reason, ...counted(name, label, reason) };
      }),
    )
      .filter(({ total }) => total > 0)
      .sort((one, other) => (other.perSecond ?? 0) - (one.perSecond ?? 0) || other.total - one.total),
    newestRefusals,
    journal: {
      state: health.telemetry,
      queuedBytes: metrics.value('rollcall_telemetry_queued_bytes'),
      commitMs: meanCommitMs(reading, before),
      diskFreeBytes: metrics.value('rollcall_telemetry_disk_free_bytes'),
    },
    sinks: metrics.all('rollcall_sink_up').map(({ labels: { sink: name = '' }, value }) => ({
      name,
      isUp: value === 1,
      isUntrusted: metrics.valueOf('rollcall_sink_untrusted', 'sink', name) === 1,
      lagMessages: metrics.valueOf('rollcall_sink_lag_messages', 'sink', name) ?? 0,
      lagSeconds: metrics.valueOf('rollcall_sink_lag_seconds', 'sink', name) ?? 0,
      forwarded: counted('rollcall_sink_forwarded_total', 'sink', name),
    })),
    expiring: expiryOf(metrics),
    busiest: metrics
      .all('rollcall_telemetry_heaviest_device_bytes')
      .map(({ labels: { device = '' } }) => ({
        device,
        bytesToday: counted('rollcall_telemetry_heaviest_device_bytes', 'device', device),
      }))
      .sort((one, other) => other.bytesToday.total - one.bytesToday.total),
    ...fleetPart(fleet),
  };
}

const REFUSAL_METRICS = [
  { by: 'mqtt', name: 'rollcall_connections_refused_total', label: 'reason' },
  { by: 'est', name: 'rollcall_enroll_refused_total', label: 'code' },
  { by: 'est', name: 'rollcall_enroll_connections_refused_total', label: 'reason' },
  { by: 'policy', name: 'rollcall_access_denied_total', label: 'action' },
] as const;

type Count = (name: string, label?: string, value?: string) => Counted;

/** A counter that is smaller than before has begun again: with a new process, or a new day. */
function countingSince(reading: ServerReading, before: ServerReading | undefined): Count {
  const seconds = before === undefined ? 0 : (reading.at - before.at) / 1000;
  return (name, label, labelValue = '') => {
    const read = ({ metrics }: ServerReading) =>
      label === undefined ? metrics.value(name) : (metrics.valueOf(name, label, labelValue) ?? 0);
    const total = read(reading);
    if (before === undefined || seconds <= 0) return { total, perSecond: undefined };
    return { total, perSecond: increase(total, read(before)) / seconds };
  };
}

function increase(total: number, before: number): number {
  return total >= before ? total - before : total;
}

function meanCommitMs({ metrics }: ServerReading, before: ServerReading | undefined): number | undefined {
  const name = 'rollcall_telemetry_commit_seconds';
  const since = (suffix: string) =>
    increase(metrics.value(`${name}${suffix}`), before?.metrics.value(`${name}${suffix}`) ?? 0);
  const commits = since('_count');
  return commits === 0 ? undefined : (since('_sum') / commits) * 1000;
}

/** Kinds of which something expires within 30 days, or is late. */
function expiryOf(metrics: MetricSamples): readonly ExpiryCount[] {
  const kinds = new Set(metrics.all('rollcall_expiring').map(({ labels }) => labels.kind ?? ''));
  const within = (kind: string, time: string) =>
    metrics.all('rollcall_expiring').find(({ labels }) => labels.kind === kind && labels.within === time)?.value ?? 0;
  return [...kinds]
    .map((kind) => {
      const next = metrics.valueOf('rollcall_next_expiry_timestamp_seconds', 'kind', kind);
      return {
        kind,
        in7Days: within(kind, '7d'),
        in30Days: within(kind, '30d'),
        late: metrics.valueOf('rollcall_late_to_renew', 'kind', kind) ?? 0,
        next: next === undefined ? undefined : new Date(next * 1000).toISOString(),
      };
    })
    .filter(({ in30Days, late }) => in30Days > 0 || late > 0);
}
