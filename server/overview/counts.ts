/** What one server counted until now, read from the counters of its parts. Totals are since its start. */

import type { RefusedCounts } from '../../console/index.ts';

export interface Counts {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly connected: number;
  readonly connects: number;
  readonly received: number;
  readonly stored: number;
  readonly sent: number;
  readonly dropped: number;
  readonly refused: RefusedCounts;
  /** In the event loop of each thread that serves clients, and of the main thread. */
  readonly busySeconds: Readonly<Record<string, number>>;
  readonly commits: { readonly count: number; readonly seconds: number };
  readonly queuedBytes: number;
}

/** Every refusal. */
export function refusedInAll({ connections, enrollments, topics }: RefusedCounts): number {
  return connections + enrollments + topics;
}

export interface CountedParts {
  readonly broker: { counters(): Readonly<Record<string, number>> };
  readonly nodes: { busySeconds(): Readonly<Record<string, number>> };
  readonly enroll: { counters(): Readonly<Record<string, number>> };
  readonly telemetry: { counters(): { readonly stored: number; readonly queuedBytes: number } };
  readonly metrics: { commits(): Counts['commits'] };
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Costs some tens of microseconds. */
export function readCounts({ broker, nodes, enroll, telemetry, metrics, now }: CountedParts): Counts {
  const counted = broker.counters();
  const of = (key: string) => counted[key] ?? 0;
  const { stored, queuedBytes } = telemetry.counters();
  return {
    at: now(),
    connected: of('sessions'),
    connects: of('connected'),
    received: of('messages_received'),
    stored,
    sent: of('messages_forwarded'),
    dropped: of('messages_dropped'),
    refused: {
      connections: sumOf(counted, ['refused.']),
      enrollments: sumOf(enroll.counters(), ['enroll_refused_total/', 'enroll_connections_refused_total/']),
      topics: of('publish_denied') + of('subscribe_denied'),
    },
    busySeconds: { main: of('event_loop_busy_seconds_total'), ...nodes.busySeconds() },
    commits: metrics.commits(),
    queuedBytes,
  };
}

function sumOf(counters: Readonly<Record<string, number>>, prefixes: readonly string[]): number {
  let sum = 0;
  for (const [key, value] of Object.entries(counters)) {
    if (prefixes.some((prefix) => key.startsWith(prefix))) sum += value;
  }
  return sum;
}
