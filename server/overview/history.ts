/**
 * The counts of a server over the last six hours, in memory: a sample every 15 seconds, 1,440 in all, some hundred bytes each. They
 * begin with the start of the server; Prometheus is for longer times.
 */

import type { RefusedCounts, ServerHistory, ServerRates } from '../../console/index.ts';
import { type Counts, refusedInAll } from './counts.ts';

export const SAMPLE_EVERY_MS = 15_000;
const MAX_SAMPLES = (6 * 3_600_000) / SAMPLE_EVERY_MS;
/** Of one answer. Longer times have a point for several samples. */
const MAX_POINTS = 360;
/** Rates of this moment are those since a reading that is at least so old. */
const RATE_MS = 10_000;

export interface RecentCounts {
  readonly counts: Counts;
  readonly rates: ServerRates;
  readonly commitsPerSecond: number;
  readonly commitMs: number | undefined;
}

export class CountHistory {
  readonly #read: () => Counts;
  /** Oldest first; the first reading is that of the start. */
  readonly #readings: Counts[];

  constructor(read: () => Counts) {
    this.#read = read;
    this.#readings = [read()];
  }

  sample(): void {
    const counts = this.#read();
    // The clock of the system was set back: times of a series ascend.
    while ((this.#readings.at(-1)?.at ?? 0) >= counts.at && this.#readings.length > 0) this.#readings.pop();
    this.#readings.push(counts);
    if (this.#readings.length > MAX_SAMPLES + 1) this.#readings.shift();
  }

  /** Rates of this moment, and how many commits there were a second, with their mean time. */
  recent(): RecentCounts {
    const counts = this.#read();
    const before = this.#readings.findLast(({ at }) => at <= counts.at - RATE_MS) ?? (this.#readings[0] as Counts);
    const commitsPerSecond = (counts.commits.count - before.commits.count) / secondsBetween(before, counts);
    return { counts, rates: ratesOf(before, counts), commitsPerSecond, commitMs: commitMsOf(before, counts) };
  }

  /** What was refused in the last hour, or since the start. */
  refusedSince(since: number, { refused }: Counts): RefusedCounts {
    const before = this.#readings.find(({ at }) => at >= since) ?? (this.#readings.at(-1) as Counts);
    return {
      connections: refused.connections - before.refused.connections,
      enrollments: refused.enrollments - before.refused.enrollments,
      topics: refused.topics - before.refused.topics,
    };
  }

  series(since: number): ServerHistory {
    const first = Math.max(0, this.#readings.findIndex(({ at }) => at >= since) - 1);
    const readings = this.#readings.slice(first);
    const step = Math.max(1, Math.ceil((readings.length - 1) / MAX_POINTS));
    const history: ServerHistory = {
      at: [],
      connected: [],
      received: [],
      stored: [],
      sent: [],
      refusedConnections: [],
      refusedEnrollments: [],
      refusedTopics: [],
      queuedBytes: [],
      commitMs: [],
      busy: [],
    };
    // From the newest one back, so that a point does not change its samples while time passes.
    for (let i = readings.length - 1; i > 0; i -= step) {
      const [end, begin] = [readings[i] as Counts, readings[Math.max(0, i - step)] as Counts];
      append(history, begin, end, Math.max(...readings.slice(Math.max(0, i - step) + 1, i + 1).map(queued)));
    }
    for (const values of Object.values(history)) values.reverse();
    return history;
  }
}

const queued = ({ queuedBytes }: Counts) => queuedBytes;

function append(history: ServerHistory, before: Counts, after: Counts, queuedBytes: number): void {
  const { received, stored, sent, busy } = ratesOf(before, after);
  const seconds = secondsBetween(before, after);
  const perSecond = (kind: keyof RefusedCounts) => (after.refused[kind] - before.refused[kind]) / seconds;
  history.at.push(after.at / 1000);
  history.connected.push(after.connected);
  history.received.push(received);
  history.stored.push(stored);
  history.sent.push(sent);
  history.refusedConnections.push(perSecond('connections'));
  history.refusedEnrollments.push(perSecond('enrollments'));
  history.refusedTopics.push(perSecond('topics'));
  history.queuedBytes.push(queuedBytes);
  history.commitMs.push(commitMsOf(before, after) ?? null);
  history.busy.push(busy);
}

function ratesOf(before: Counts, after: Counts): ServerRates {
  const seconds = secondsBetween(before, after);
  const rate = (key: 'connects' | 'received' | 'stored' | 'sent' | 'dropped') => (after[key] - before[key]) / seconds;
  const busiest = Math.max(
    0,
    ...Object.entries(after.busySeconds).map(
      ([thread, total]) => (total - (before.busySeconds[thread] ?? 0)) / seconds,
    ),
  );
  return {
    connects: rate('connects'),
    received: rate('received'),
    stored: rate('stored'),
    sent: rate('sent'),
    dropped: rate('dropped'),
    refused: Math.max(0, (refusedInAll(after.refused) - refusedInAll(before.refused)) / seconds),
    busy: Math.min(1, busiest),
  };
}

function commitMsOf({ commits: before }: Counts, { commits: after }: Counts): number | undefined {
  const count = after.count - before.count;
  return count === 0 ? undefined : ((after.seconds - before.seconds) / count) * 1000;
}

/** The clock of the system may have been set back. */
function secondsBetween(before: Counts, after: Counts): number {
  return Math.max(1, (after.at - before.at) / 1000);
}
