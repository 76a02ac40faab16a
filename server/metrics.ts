/**
 * The metrics of one server in the text format of Prometheus, by prom-client. Modules count in plain records, and a scrape copies
 * their values. Each server has a registry of its own, because two servers may run in one process.
 */

import type { Logger } from 'pino';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Telemetry } from '../telemetry/index.ts';
import {
  COMMIT_SECONDS,
  INFO,
  METRICS,
  type MetricDefinition,
  type MetricSource,
  TERMINATION_SECONDS,
} from './metric-definitions.ts';
import { RecentTimes } from './overview/recent-times.ts';

/** Values by key; true counts as 1. */
export type CounterRecord = Readonly<Record<string, number | boolean>>;

export interface CounterSource {
  counters(): CounterRecord | Promise<CounterRecord>;
}

export interface MetricsOptions {
  readonly version: string;
  /** Of several that share a store, or `main`. */
  readonly node: string;
  /** `node 26.10.0` */
  readonly runtime: string;
  readonly log: Logger;
}

type Metric = Counter<string> | Gauge<string>;

export class Metrics {
  readonly #registry = new Registry();
  readonly #log: Logger;
  readonly #sources = new Map<MetricSource, CounterSource>();
  readonly #metrics = new Map<MetricDefinition, Metric>();
  readonly #termination: Histogram;
  readonly #commits: Histogram;
  readonly #reported = new Set<string>();
  /** Of the journal. Rotated by who reads them. */
  readonly commitTimes = new RecentTimes();
  #commitCount = 0;
  #commitSeconds = 0;

  constructor({ version, node, runtime, log }: MetricsOptions) {
    this.#log = log;
    const registers = [this.#registry];
    const { name, help, labels } = INFO;
    new Gauge({ name, help, labelNames: labels, registers }).set({ version, runtime, node }, 1);
    const histogram = (options: typeof TERMINATION_SECONDS | typeof COMMIT_SECONDS) =>
      new Histogram({ ...options, buckets: [...options.buckets], registers });
    this.#termination = histogram(TERMINATION_SECONDS);
    this.#commits = histogram(COMMIT_SECONDS);
    for (const definition of Object.values(METRICS).flat()) {
      const { name, type, help, label } = definition;
      const options = { name, help, labelNames: label === undefined ? [] : [label].flat(), registers };
      this.#metrics.set(definition, type === 'counter' ? new Counter(options) : new Gauge(options));
    }
  }

  /** Reads the counters at each scrape. */
  collectFrom(source: MetricSource, module: CounterSource): void {
    this.#sources.set(source, module);
  }

  observeTermination(seconds: number): void {
    this.#termination.observe(seconds);
  }

  observeCommit(seconds: number): void {
    this.#commits.observe(seconds);
    this.commitTimes.record(seconds * 1_000);
    this.#commitCount += 1;
    this.#commitSeconds += seconds;
  }

  /** Commits of the telemetry journal since the start, and their seconds together. */
  commits(): { readonly count: number; readonly seconds: number } {
    return { count: this.#commitCount, seconds: this.#commitSeconds };
  }

  async text(): Promise<string> {
    for (const [source, module] of this.#sources) this.#collect(source, await module.counters());
    return this.#registry.metrics();
  }

  /** Replaces the values of the previous scrape. */
  #collect(source: MetricSource, counters: CounterRecord): void {
    const unknown = new Set(Object.keys(counters));
    // Certificates are counted some time after the start.
    const isEmpty = unknown.size === 0;
    for (const definition of METRICS[source]) {
      const metric = this.#metrics.get(definition) as Metric;
      metric.reset();
      for (const [key, labelValue] of samplesOf(definition, counters)) {
        unknown.delete(key);
        metric.inc(labelsOf(definition, labelValue), asNumber(counters[key]));
      }
      if (typeof definition.from === 'string' && counters[definition.from] === undefined && !isEmpty) {
        this.#report(source, `expected the counter ${definition.from}`);
      }
    }
    for (const key of unknown) this.#report(source, `${key} has no definition`);
  }

  /** Logs each mismatch once. The metric is missing then; a test of the whole server fails on the log line. */
  #report(source: MetricSource, reason: string): void {
    if (this.#reported.has(`${source} ${reason}`)) return;
    this.#reported.add(`${source} ${reason}`);
    this.#log.error({ source, reason }, 'counters do not match their metric definitions');
  }
}

/** The number of devices that the metrics name. */
const HEAVIEST_DEVICES = 5;

/** Collects the counters of telemetry, and the bytes of the devices that stored most today. */
export function collectTelemetry(metrics: Metrics, telemetry: Pick<Telemetry, 'counters' | 'shares'>): void {
  metrics.collectFrom('telemetry', {
    counters: () => {
      const { newest: _, isHeld: __, ...counters } = telemetry.counters();
      return counters;
    },
  });
  metrics.collectFrom('heaviestDevices', {
    counters: () =>
      Object.fromEntries(telemetry.shares.largest(HEAVIEST_DEVICES).map(({ name, bytes }) => [name, bytes])),
  });
}

function asNumber(value: number | boolean | undefined): number {
  return typeof value === 'number' ? value : value === true ? 1 : 0;
}

function labelsOf({ label }: MetricDefinition, value: string): Readonly<Record<string, string>> {
  if (label === undefined) return {};
  if (typeof label === 'string') return { [label]: value };
  const values = value.split(',');
  return Object.fromEntries(label.map((name, index) => [name, values[index] ?? '']));
}

function* samplesOf(
  { from }: MetricDefinition,
  counters: CounterRecord,
): Generator<readonly [key: string, labelValue: string]> {
  if (typeof from === 'string') {
    if (counters[from] !== undefined) yield [from, ''];
  } else if ('keys' in from) {
    for (const [key, labelValue] of Object.entries(from.keys)) if (counters[key] !== undefined) yield [key, labelValue];
  } else {
    for (const key of Object.keys(counters)) {
      if (key.startsWith(from.prefix)) yield [key, key.slice(from.prefix.length).replaceAll(' ', '_')];
    }
  }
}
