/** The measurements of a run: one point a second for the charts, sums and percentiles for the verdict. */

import { type CountersReport, CounterTotals, type CounterValues, LATENCIES } from '../devices/counters.ts';
import type { DeviceCounts } from '../devices/shard-messages.ts';
import { METRICS } from '../scenario/expectation.ts';
import type { RunResult, TimelinePoint } from './result.ts';
import type { SecondReport } from './shards.ts';

export interface RunSnapshot extends TimelinePoint {
  readonly devices: number;
  readonly inFleet: number;
  readonly refused: number;
  readonly connectionRefused: number;
  readonly unacknowledged: number;
  readonly totals: Readonly<CounterValues>;
  readonly errorsByCause: Readonly<Record<string, number>>;
  /** Reason codes of the broker other than success: `puback_quota_exceeded`. */
  readonly reasons: Readonly<Record<string, number>>;
}

const NOBODY: DeviceCounts = {
  connected: 0,
  inFleet: 0,
  refused: 0,
  connectionRefused: 0,
  waiting: 0,
  unacknowledged: 0,
};

export class RunRecord {
  readonly timeline: TimelinePoint[] = [];
  readonly #devices: number;
  readonly #totals = new CounterTotals();
  readonly #shardCounts: DeviceCounts[];
  readonly #memory: () => number;
  readonly #memoryBefore: number;
  #memoryPeak = 0;
  #connectedPeak = 0;
  #second = new CounterTotals();
  #heard = new Set<number>();
  #cpuMicros = 0;
  #steadyCpu = 0;
  #steadyMessages = 0;
  #startedAt = 0;

  /** `memory`: bytes that the processes with the devices hold. */
  constructor(devices: number, shards: number, memory: () => number) {
    this.#devices = devices;
    this.#shardCounts = Array.from({ length: shards }, () => NOBODY);
    this.#memory = memory;
    this.#memoryBefore = memory();
  }

  start(now: number): void {
    this.#startedAt = now;
  }

  get elapsedMs(): number {
    return performance.timeOrigin + performance.now() - this.#startedAt;
  }

  /** True when every shard has reported since the last time. */
  second({ shard, counters, deviceCounts, cpuMicros }: SecondReport): boolean {
    this.#shardCounts[shard] = deviceCounts;
    this.#totals.add(counters);
    this.#second.add(counters);
    this.#cpuMicros += cpuMicros;
    this.#heard.add(shard);
    if (this.#heard.size < this.#shardCounts.length) return false;
    this.#heard.clear();
    this.#point();
    return true;
  }

  /** Adds what the run itself counts, and the last reports of shards. */
  own(report: CountersReport): void {
    this.#totals.add(report);
    this.#second.add(report);
  }

  snapshot(): RunSnapshot {
    const deviceCounts = this.#deviceCounts();
    const last = this.timeline.at(-1) ?? this.#pointOf(this.#second, deviceCounts);
    return {
      ...last,
      devices: this.#devices,
      connected: deviceCounts.connected,
      inFleet: deviceCounts.inFleet,
      refused: deviceCounts.refused,
      connectionRefused: deviceCounts.connectionRefused,
      unacknowledged: deviceCounts.unacknowledged,
      totals: this.#totals.counts,
      errorsByCause: this.#totals.errors,
      reasons: this.#totals.reasons,
    };
  }

  errors(): Record<string, number> {
    return mostFrequentFirst(this.#totals.errors);
  }

  reasons(): Record<string, number> {
    return mostFrequentFirst(this.#totals.reasons);
  }

  latencies(): RunResult['latencies'] {
    return Object.fromEntries(
      LATENCIES.flatMap((name) => {
        const count = this.#totals.latencies.get(name)?.totalCount ?? 0;
        if (count === 0) return [];
        const at = (percent: number) => this.#totals.percentile(name, percent) as number;
        return [[name, { count, p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: at(100) }]];
      }),
    );
  }

  /** Every metric that was measured. */
  values(): Record<string, number> {
    const { counts, errors, reasons } = this.#totals;
    const deviceCounts = this.#deviceCounts();
    const values: Record<string, number> = {
      'devices.total': this.#devices,
      'devices.enrolled': counts.enrolled,
      'devices.connected': deviceCounts.connected,
      'devices.refused': deviceCounts.refused,
      'devices.throttled': counts.throttled,
      'devices.revoked': counts.revoked,
      'devices.connectionRefused': deviceCounts.connectionRefused,
      'devices.renewed': counts.renewed,
      'messages.sent': counts.sent,
      'messages.acknowledged': counts.acknowledged,
      'messages.unacknowledged': deviceCounts.unacknowledged,
      'messages.rejected': counts.rejected,
      'messages.dropped': counts.dropped,
      'connects.mqtt5': counts.connectsMqtt5,
      'connects.mqtt311': counts.connectsMqtt311,
      'wills.received': counts.wills,
      'duplicates.service': counts.duplicates,
      'reordered.service': counts.reordered,
      'forged.service': counts.forged,
      'commands.sent': counts.commandsSent,
      'commands.answered': counts.commandsAnswered,
      'acts.hostile': counts.hostile,
      'acts.wronglyAllowed': counts.wronglyAllowed,
      'acts.wronglyRefused': counts.wronglyRefused,
      'errors.total': Object.values(errors).reduce((sum, count) => sum + count, 0),
      'simulator.lagP99': this.#totals.percentile('lag', 99) ?? 0,
    };
    for (const [cause, count] of Object.entries(errors)) values[`errors.${cause}`] = count;
    for (const [key, count] of Object.entries(reasons)) values[`reasons.${key}`] = count;
    for (const name of LATENCIES) {
      for (const [key, percent] of [
        ['p50', 50],
        ['p90', 90],
        ['p99', 99],
        ['max', 100],
      ] as const) {
        const value = this.#totals.percentile(name, percent);
        if (value !== undefined && Object.hasOwn(METRICS, `${name}.${key}`)) values[`${name}.${key}`] = value;
      }
    }
    if (this.#steadyMessages > 0) values['simulator.cpuPerMessage'] = this.#steadyCpu / this.#steadyMessages;
    if (this.#connectedPeak > 0) {
      values['simulator.memoryPerDevice'] = (this.#memoryPeak - this.#memoryBefore) / 1024 / this.#connectedPeak;
    }
    return values;
  }

  #deviceCounts(): DeviceCounts {
    const sum = { ...NOBODY } as { -readonly [Key in keyof DeviceCounts]: number };
    for (const deviceCounts of this.#shardCounts) {
      for (const key of Object.keys(sum) as (keyof DeviceCounts)[]) sum[key] += deviceCounts[key];
    }
    return sum;
  }

  #point(): void {
    const deviceCounts = this.#deviceCounts();
    const { counts } = this.#second;
    this.timeline.push(this.#pointOf(this.#second, deviceCounts));
    this.#memoryPeak = Math.max(this.#memoryPeak, this.#memory());
    this.#connectedPeak = Math.max(this.#connectedPeak, deviceCounts.connected);
    // The cost of a message is measured only in seconds without connects and enrollments.
    if (counts.connects === 0 && counts.enrolled === 0 && counts.acknowledged > 0 && counts.disconnects === 0) {
      this.#steadyCpu += this.#cpuMicros;
      this.#steadyMessages += counts.acknowledged;
    }
    this.#cpuMicros = 0;
    this.#second = new CounterTotals();
  }

  #pointOf(second: CounterTotals, { connected }: DeviceCounts): TimelinePoint {
    const { counts } = second;
    const optional = {
      pubackP50: second.percentile('puback', 50),
      pubackP99: second.percentile('puback', 99),
      serviceP99: second.percentile('service', 99),
      connectP99: second.percentile('connect', 99),
      lagP99: second.percentile('lag', 99),
    };
    return {
      at: Math.round(this.elapsedMs / 100) / 10,
      connected,
      sent: counts.sent,
      acknowledged: counts.acknowledged,
      received: counts.received,
      connects: counts.connects,
      disconnects: counts.disconnects,
      errors: Object.values(second.errors).reduce((sum, count) => sum + count, 0),
      ...(Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)) as Partial<
        Record<keyof typeof optional, number>
      >),
    };
  }
}

function mostFrequentFirst(counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).sort(([, a], [, b]) => b - a));
}
