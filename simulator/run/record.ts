/** What a run has seen so far: one point a second for the charts, sums and percentiles for the verdict. It judges nothing. */

import { type Counters, LATENCIES, type TallyReport, Totals } from '../devices/counters.ts';
import type { ShardStanding } from '../devices/shard-messages.ts';
import { METRICS } from '../scenario/expectation.ts';
import type { RunResult, TimelinePoint } from './result.ts';
import type { SecondReport } from './shards.ts';

export interface RunSnapshot extends TimelinePoint {
  readonly devices: number;
  readonly inFleet: number;
  readonly refused: number;
  readonly cutOff: number;
  readonly unacknowledged: number;
  readonly totals: Readonly<Counters>;
  readonly errorsByCause: Readonly<Record<string, number>>;
}

const NOBODY: ShardStanding = { connected: 0, inFleet: 0, refused: 0, cutOff: 0, waiting: 0, unacknowledged: 0 };

export class RunRecord {
  readonly timeline: TimelinePoint[] = [];
  readonly #devices: number;
  readonly #totals = new Totals();
  readonly #standings: ShardStanding[];
  readonly #memory: () => number;
  readonly #memoryBefore: number;
  #memoryPeak = 0;
  #connectedPeak = 0;
  #second = new Totals();
  #heard = new Set<number>();
  #cpuMicros = 0;
  #steadyCpu = 0;
  #steadyMessages = 0;
  #startedAt = 0;

  /** `memory`: bytes that the processes with the devices hold. */
  constructor(devices: number, shards: number, memory: () => number) {
    this.#devices = devices;
    this.#standings = Array.from({ length: shards }, () => NOBODY);
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
  second({ shard, tally, standing, cpuMicros }: SecondReport): boolean {
    this.#standings[shard] = standing;
    this.#totals.add(tally);
    this.#second.add(tally);
    this.#cpuMicros += cpuMicros;
    this.#heard.add(shard);
    if (this.#heard.size < this.#standings.length) return false;
    this.#heard.clear();
    this.#point();
    return true;
  }

  /** What the run itself counts, and what comes after the last second. */
  own(report: TallyReport): void {
    this.#totals.add(report);
    this.#second.add(report);
  }

  snapshot(): RunSnapshot {
    const standing = this.#standing();
    const last = this.timeline.at(-1) ?? this.#pointOf(this.#second, standing);
    return {
      ...last,
      devices: this.#devices,
      connected: standing.connected,
      inFleet: standing.inFleet,
      refused: standing.refused,
      cutOff: standing.cutOff,
      unacknowledged: standing.unacknowledged,
      totals: this.#totals.counters,
      errorsByCause: this.#totals.errors,
    };
  }

  errors(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#totals.errors).sort(([, a], [, b]) => b - a));
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
    const { counters, errors } = this.#totals;
    const standing = this.#standing();
    const values: Record<string, number> = {
      'devices.total': this.#devices,
      'devices.enrolled': counters.enrolled,
      'devices.connected': standing.connected,
      'devices.refused': standing.refused,
      'devices.revoked': counters.revoked,
      'devices.cutOff': standing.cutOff,
      'devices.renewed': counters.renewed,
      'messages.sent': counters.sent,
      'messages.acknowledged': counters.acknowledged,
      'messages.unacknowledged': standing.unacknowledged,
      'messages.dropped': counters.dropped,
      'duplicates.service': counters.duplicates,
      'reordered.service': counters.reordered,
      'forged.service': counters.forged,
      'commands.sent': counters.commandsSent,
      'commands.answered': counters.commandsAnswered,
      'acts.hostile': counters.hostile,
      'acts.wronglyAllowed': counters.wronglyAllowed,
      'acts.wronglyRefused': counters.wronglyRefused,
      'errors.total': Object.values(errors).reduce((sum, count) => sum + count, 0),
      'simulator.lagP99': this.#totals.percentile('lag', 99) ?? 0,
    };
    for (const [cause, count] of Object.entries(errors)) values[`errors.${cause}`] = count;
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

  #standing(): ShardStanding {
    const sum = { ...NOBODY } as { -readonly [Key in keyof ShardStanding]: number };
    for (const standing of this.#standings) {
      for (const key of Object.keys(sum) as (keyof ShardStanding)[]) sum[key] += standing[key];
    }
    return sum;
  }

  #point(): void {
    const standing = this.#standing();
    const { counters } = this.#second;
    this.timeline.push(this.#pointOf(this.#second, standing));
    this.#memoryPeak = Math.max(this.#memoryPeak, this.#memory());
    this.#connectedPeak = Math.max(this.#connectedPeak, standing.connected);
    // Only seconds in which nothing but publishing happened say what a message costs.
    if (counters.connects === 0 && counters.enrolled === 0 && counters.acknowledged > 0 && counters.disconnects === 0) {
      this.#steadyCpu += this.#cpuMicros;
      this.#steadyMessages += counters.acknowledged;
    }
    this.#cpuMicros = 0;
    this.#second = new Totals();
  }

  #pointOf(second: Totals, { connected }: ShardStanding): TimelinePoint {
    const { counters } = second;
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
      sent: counters.sent,
      acknowledged: counters.acknowledged,
      received: counters.received,
      connects: counters.connects,
      disconnects: counters.disconnects,
      errors: Object.values(second.errors).reduce((sum, count) => sum + count, 0),
      ...(Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)) as Partial<
        Record<keyof typeof optional, number>
      >),
    };
  }
}
