/**
 * The counters and latency histograms (HDR) of a shard since its last report. Latencies count from the intended time of an
 * action, so that waiting for a slow server shows (no coordinated omission). Histograms hold microseconds.
 */

import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js';
import { type PacketWithReason, reasonKey } from './reason-codes.ts';

export const LATENCIES = [
  'enroll',
  'connect',
  'puback',
  'service',
  'revocation',
  'recovery',
  'command',
  'lag',
] as const;
export type LatencyName = (typeof LATENCIES)[number];

export const COUNTERS = [
  'enrolled',
  'refused',
  'throttled',
  'connects',
  'connectsMqtt311',
  'connectsMqtt5',
  'disconnects',
  'resumed',
  'sent',
  'acknowledged',
  'rejected',
  'dropped',
  'received',
  'duplicates',
  'reordered',
  'forged',
  'wills',
  'connectionRefused',
  'renewed',
  'revoked',
  'commandsSent',
  'commandsAnswered',
  'hostile',
  'wronglyAllowed',
  'wronglyRefused',
] as const;
export type CounterName = (typeof COUNTERS)[number];
export type CounterValues = Record<CounterName, number>;

const LONGEST_MS = 3_600_000;

function newHistogram(): Histogram {
  return build({ highestTrackableValue: LONGEST_MS * 1_000, numberOfSignificantValueDigits: 2, bitBucketSize: 32 });
}

export function zeroCounters(): CounterValues {
  return Object.fromEntries(COUNTERS.map((name) => [name, 0])) as CounterValues;
}

/** What happened since the report before it. Plain data: it crosses threads and networks. */
export interface CountersReport {
  readonly counts: Partial<CounterValues>;
  readonly errors: Readonly<Record<string, number>>;
  /** Reason codes of the broker by {@link reasonKey}, other than success. */
  readonly reasons: Readonly<Record<string, number>>;
  /** Compressed histograms, base64. */
  readonly latencies: Partial<Readonly<Record<LatencyName, string>>>;
}

export class Counters {
  #counts = zeroCounters();
  #errors: Record<string, number> = {};
  #reasons: Record<string, number> = {};
  readonly #latencies = new Map<LatencyName, Histogram>();

  count(name: CounterName, times = 1): void {
    this.#counts[name] += times;
  }

  error(cause: string): void {
    const name = cause.replace(/[^A-Za-z0-9_]/g, '_').slice(0, 60);
    this.#errors[name] = (this.#errors[name] ?? 0) + 1;
  }

  reason(packet: PacketWithReason, code: number): void {
    const key = reasonKey(packet, code);
    this.#reasons[key] = (this.#reasons[key] ?? 0) + 1;
  }

  record(name: LatencyName, milliseconds: number): void {
    let histogram = this.#latencies.get(name);
    if (histogram === undefined) {
      histogram = newHistogram();
      this.#latencies.set(name, histogram);
    }
    histogram.recordValue(Math.round(Math.min(LONGEST_MS, Math.max(0.001, milliseconds)) * 1_000));
  }

  /** What came since the last call, which is forgotten. */
  take(): CountersReport {
    const counts = Object.fromEntries(Object.entries(this.#counts).filter(([, count]) => count !== 0));
    const errors = this.#errors;
    const reasons = this.#reasons;
    const latencies: Partial<Record<LatencyName, string>> = {};
    for (const [name, histogram] of this.#latencies) {
      if (histogram.totalCount === 0) continue;
      latencies[name] = encodeIntoCompressedBase64(histogram);
      histogram.reset();
    }
    this.#counts = zeroCounters();
    this.#errors = {};
    this.#reasons = {};
    return { counts, errors, reasons, latencies };
  }
}

/** All that was ever reported, summed up. */
export class CounterTotals {
  readonly counts = zeroCounters();
  readonly errors: Record<string, number> = {};
  readonly reasons: Record<string, number> = {};
  readonly latencies = new Map<LatencyName, Histogram>();

  add(report: CountersReport): void {
    for (const [name, count] of Object.entries(report.counts)) this.counts[name as CounterName] += count;
    for (const [name, count] of Object.entries(report.errors)) this.errors[name] = (this.errors[name] ?? 0) + count;
    for (const [key, count] of Object.entries(report.reasons)) this.reasons[key] = (this.reasons[key] ?? 0) + count;
    for (const [name, text] of Object.entries(report.latencies)) {
      const added = decodeFromCompressedBase64(text, 32);
      const whole = this.latencies.get(name as LatencyName);
      if (whole === undefined) this.latencies.set(name as LatencyName, added);
      else whole.add(added);
    }
  }

  /** Milliseconds; undefined while nothing was measured. */
  percentile(name: LatencyName, percent: number): number | undefined {
    const histogram = this.latencies.get(name);
    if (histogram === undefined || histogram.totalCount === 0) return undefined;
    return (percent === 100 ? histogram.maxValue : histogram.getValueAtPercentile(percent)) / 1_000;
  }
}
