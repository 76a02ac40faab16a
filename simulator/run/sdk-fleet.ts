/**
 * A fleet of SDK devices in this process, without a timeline and a verdict: it enrolls with one bootstrap token, publishes,
 * and can be watched device by device. It runs on the shard of a scenario.
 */

import type { DeviceError, DeviceLog, IdentityStore } from '@rollcall/device-sdk';
import { CounterTotals } from '../devices/counters.ts';
import { DEVICE_STATES, type DeviceReport, type DeviceState, type FailedStep } from '../devices/device-report.ts';
import { isClosedEarly } from '../devices/first-certificate.ts';
import { SequenceSet } from '../devices/sequence-set.ts';
import { preciseNow } from '../devices/timer-wheel.ts';
import { type DeviceGroup, type Scenario, scenarioSchema } from '../scenario/schema.ts';
import { waitUntil } from '../wait-until.ts';
import { DeviceList } from './device-list.ts';
import { InProcessShard } from './in-process-shard.ts';
import { createShardConfigs } from './shard-configs.ts';
import { Shards } from './shards.ts';

export interface SdkFleetOptions {
  /** One or more. */
  readonly devices: number;
  /** Bootstrap token with at least as many uses as there are devices. */
  readonly token: string;
  /** Messages per second and device; 0 for devices that are only connected. */
  readonly rate: number;
  /** The run ends so long after its start; without it, at `stop`. */
  readonly seconds?: number;
  /** Where a device stores its identity, by its index; in memory without it. */
  readonly storeOf?: (index: number) => IdentityStore;
  /** Devices ask for `<prefix>-0001` and so on; without it the server chooses their names. */
  readonly idPrefix?: string;
  /** In place of what the enroll server announces. */
  readonly mqttUrl?: string;
  /** Share of devices that use MQTT 5, the others 3.1.1; without it, each uses what the broker speaks. */
  readonly mqtt?: number;
  /** The same seed gives the same values and pauses. Default 1. */
  readonly seed?: number;
  /** Devices renew by themselves, in this first part of each window; more than 0 and at most 1. Default 1. */
  readonly haste?: number;
  /** Called at each change of a device: its state, a message acknowledged. */
  readonly onDevice?: (device: DeviceReport) => void;
  readonly log: DeviceLog;
}

/** Milliseconds. */
export interface LatencySummary {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface FleetSnapshot {
  /** Milliseconds since the run began. */
  readonly elapsed: number;
  readonly devices: number;
  readonly byState: Readonly<Record<DeviceState, number>>;
  readonly enrolled: number;
  /** Requests for a certificate that the server refused for its rate; they were repeated later. */
  readonly throttled: number;
  /** Devices that were connected at some time. */
  readonly everConnected: number;
  readonly sent: number;
  readonly acknowledged: number;
  /** Messages that were rejected before they were acknowledged. */
  readonly failed: number;
  /** Reason codes of the broker other than success: `disconnect_session_taken_over`. */
  readonly reasons: Readonly<Record<string, number>>;
  /** How often each error code came up: enrollment, connection, messages. */
  readonly errors: Readonly<Record<string, number>>;
  /** The same by sentence; from the 21st sentence on they are counted as one. */
  readonly causes: Readonly<Record<string, number>>;
  readonly lastValue: number | undefined;
  /** From the intended time of a message to its PUBACK; undefined while there is none. */
  readonly latency: LatencySummary | undefined;
}

export interface FleetReport extends FleetSnapshot {
  /** Why it ended. */
  readonly ended: 'stopped' | 'time is up' | 'nobody left';
}

/** Time for the last messages to be acknowledged before the devices close. */
const LAST_MESSAGES_MS = 2_000;
const CAUSES_AT_MOST = 20;
const OTHER_CAUSES = 'other causes';
const GROUP = 'sdk';

export class SdkFleet {
  readonly #options: SdkFleetOptions;
  readonly #shard: InProcessShard;
  readonly #began = performance.now();
  readonly #totals = new CounterTotals();
  readonly #errors = new Map<string, number>();
  readonly #causes = new Map<string, number>();
  readonly #everConnected = new Set<number>();
  readonly #settled = new Set<number>();
  readonly #enrolled = Promise.withResolvers<void>();
  readonly #stop = Promise.withResolvers<FleetReport['ended']>();
  #acknowledged: ReadonlyMap<string, SequenceSet> = new Map();
  #failedMessages = 0;
  #lastValue: number | undefined;
  #done: Promise<FleetReport> | undefined;

  /** Resolves when every device has a certificate and tried to connect with it once, or was refused one. */
  readonly enrolled = this.#enrolled.promise;

  private constructor(options: SdkFleetOptions) {
    this.#options = options;
    this.#shard = new InProcessShard({
      renewal: 'automatic',
      haste: options.haste ?? 1,
      turnEnds: 'connected',
      names: options.idPrefix === undefined ? 'server' : 'scenario',
      mqttUrl: options.mqttUrl,
      storeOf: options.storeOf,
      log: options.log,
      observer: {
        changed: (report) => this.#changed(report),
        failed: (error, step, index) => this.#failed(error, step, index),
      },
    });
  }

  /** Throws a RangeError for options that describe no fleet. Resolves when the devices start to enroll. */
  static async start(options: SdkFleetOptions): Promise<SdkFleet> {
    checkOptions(options);
    const fleet = new SdkFleet(options);
    const { placement } = fleet.#shard;
    const shards = await Shards.open(shardConfigs(options, placement), placement, ({ counters }) =>
      fleet.#totals.add(counters),
    );
    shards.start(preciseNow());
    fleet.#done = fleet.#run(shards);
    return fleet;
  }

  /** Resolves when every device is closed. It never rejects: errors are counted in the report. */
  get done(): Promise<FleetReport> {
    return this.#done as Promise<FleetReport>;
  }

  /** Idempotent; the same promise as `done`. */
  stop(): Promise<FleetReport> {
    this.#stop.resolve('stopped');
    return this.done;
  }

  devices(): readonly DeviceReport[] {
    return this.#shard.reports();
  }

  snapshot(): FleetSnapshot {
    const reports = this.devices();
    const byState = Object.fromEntries(DEVICE_STATES.map((state) => [state, 0])) as Record<DeviceState, number>;
    for (const { state } of reports) byState[state] += 1;
    const sum = (count: (report: DeviceReport) => number) =>
      reports.reduce((total, report) => total + count(report), 0);
    return {
      elapsed: performance.now() - this.#began,
      devices: this.#options.devices,
      byState,
      enrolled: sum(({ isEnrolled }) => (isEnrolled ? 1 : 0)),
      throttled: this.#totals.counts.throttled,
      everConnected: this.#everConnected.size,
      sent: sum(({ sent }) => sent),
      acknowledged: sum(({ acknowledged }) => acknowledged),
      failed: this.#failedMessages,
      reasons: { ...this.#totals.reasons },
      errors: Object.fromEntries(this.#errors),
      causes: Object.fromEntries(this.#causes),
      lastValue: this.#lastValue,
      latency: this.#latency(),
    };
  }

  /** Acknowledged messages by `device stream`; empty before `done`. */
  get acknowledged(): ReadonlyMap<string, SequenceSet> {
    return this.#acknowledged;
  }

  async #run(shards: Shards): Promise<FleetReport> {
    const { seconds } = this.#options;
    const timer =
      seconds === undefined ? undefined : setTimeout(() => this.#stop.resolve('time is up'), seconds * 1_000);
    const ended = await this.#stop.promise;
    clearTimeout(timer);
    shards.stopPublishing();
    const isAnswered = () => this.devices().every(({ unacknowledged }) => unacknowledged === 0);
    await waitUntil(isAnswered, { within: LAST_MESSAGES_MS, every: 10 });
    const ends = await shards.end();
    for (const { counters } of ends) this.#totals.add(counters);
    this.#acknowledged = SequenceSet.byKey(ends.map(({ acknowledged }) => acknowledged));
    await shards.close();
    return { ...this.snapshot(), ended };
  }

  #changed(report: DeviceReport): void {
    const { index, state } = report;
    this.#lastValue = report.lastValue ?? this.#lastValue;
    if (state === 'connected') this.#everConnected.add(index);
    if (state === 'connected' || state === 'refused' || state === 'connection refused') this.#settle(index);
    this.#options.onDevice?.(report);
  }

  #failed(error: DeviceError, step: FailedStep, index: number): void {
    const { code } = error;
    const message = sentenceOf(error, step);
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
    const isListed = this.#causes.has(message) || this.#causes.size < CAUSES_AT_MOST;
    const cause = isListed ? message : OTHER_CAUSES;
    this.#causes.set(cause, (this.#causes.get(cause) ?? 0) + 1);
    if (step === 'message') this.#failedMessages += 1;
    if (step === 'connection') this.#settle(index);
  }

  /** The first connection of a device was made or refused. */
  #settle(index: number): void {
    this.#settled.add(index);
    if (this.#settled.size < this.#options.devices) return;
    this.#enrolled.resolve();
    if (this.devices().every(({ state }) => state === 'refused')) this.#stop.resolve('nobody left');
  }

  #latency(): LatencySummary | undefined {
    const at = (percent: number) => this.#totals.percentile('puback', percent);
    const [p50, p99, max] = [at(50), at(99), at(100)];
    return p50 === undefined || p99 === undefined || max === undefined ? undefined : { p50, p99, max };
  }
}

/** The SDK calls a connection that ends before TLS an unreachable server; a server that limits connections does just that. */
function sentenceOf({ message, cause }: DeviceError, step: FailedStep): string {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  if (step !== 'enrollment' || !isClosedEarly(code)) return message;
  return `the enroll server closed the connection before TLS (${code}): over a limit for this address, restarting, or gone`;
}

function shardConfigs(options: SdkFleetOptions, placement: InProcessShard['placement']) {
  const { idPrefix = '', token } = options;
  const scenario = scenarioOf(options);
  const devices = new DeviceList(scenario, (_, number) => `${idPrefix}-${String(number).padStart(4, '0')}`);
  const tokens = { byGroup: new Map([[GROUP, { id: '', text: token }]]) };
  return createShardConfigs(
    { scenario, recordings: new Map() },
    { placement, devices, tokens, target: undefined, server: { enrollUrl: undefined, rootPem: '' } },
  );
}

function scenarioOf({ devices, rate, mqtt, seed = 1 }: SdkFleetOptions): Scenario {
  const every = `${(1_000 / rate).toFixed(3)}ms`;
  const scenario = scenarioSchema.parse({
    name: 'sdk-fleet',
    seed,
    duration: '365d',
    devices: {
      [GROUP]: {
        count: devices,
        kind: 'sdk',
        arrive: { curve: 'constant', over: '0s' },
        publish: rate === 0 ? [] : [{ stream: 'temperature', every }],
      },
    },
  });
  const group = scenario.devices[GROUP] as DeviceGroup;
  return { ...scenario, devices: { [GROUP]: { ...group, mqtt } } };
}

function checkOptions({ devices, rate, seconds, haste = 1 }: SdkFleetOptions): void {
  if (!Number.isInteger(devices) || devices < 1) throw new RangeError('expected one device or more');
  if (!Number.isFinite(rate) || rate < 0) throw new RangeError('expected a rate of zero or more messages per second');
  if (seconds !== undefined && !(seconds > 0)) throw new RangeError('expected a run of more than zero seconds');
  if (!(haste > 0 && haste <= 1)) throw new RangeError('expected a haste of more than 0 and at most 1');
}

/** `25 x the server cannot be reached`, the most frequent first. */
export function causeLines(causes: Readonly<Record<string, number>>, most = CAUSES_AT_MOST + 1): readonly string[] {
  return Object.entries(causes)
    .sort(([, a], [, b]) => b - a)
    .slice(0, most)
    .map(([cause, count]) => `${count} x ${cause}`);
}
