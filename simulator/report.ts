/**
 * What a simulated fleet tells about itself: one snapshot per device, sums over all, and the time from publish to
 * PUBACK. It counts; it prints nothing.
 */

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/**
 * `waiting`: its turn to enroll hasn't come. `enrolling`; `connecting`: enrolled, not connected (yet, or at the moment).
 * `connected`. `refused`: it got no certificate. `cut off`: it had one, and the broker doesn't accept it any more.
 * `stopped`: it ended with the run.
 */
export type VirtualDeviceState =
  | 'waiting'
  | 'enrolling'
  | 'connecting'
  | 'connected'
  | 'refused'
  | 'cut off'
  | 'stopped';

const VIRTUAL_DEVICE_STATES: readonly VirtualDeviceState[] = [
  'waiting',
  'enrolling',
  'connecting',
  'connected',
  'refused',
  'cut off',
  'stopped',
];

export interface VirtualDeviceSnapshot {
  /** Position in the fleet, from 0. */
  readonly index: number;
  /** Unknown until it is enrolled, unless it asked for a name. */
  readonly id: string | undefined;
  readonly state: VirtualDeviceState;
  /** Since when, in milliseconds since 1970. */
  readonly since: number;
  /** When its last connection broke without its doing, in milliseconds since 1970. */
  readonly lostAt: number | undefined;
  /** Messages handed to the SDK, and those that the broker acknowledged. */
  readonly sent: number;
  readonly acknowledged: number;
  readonly lastValue: number | undefined;
  /** Code of its last error, and its sentence. */
  readonly error: string | undefined;
  readonly reason: string | undefined;
}

/** Milliseconds; undefined while there is nothing to measure. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface FleetSnapshot {
  /** Milliseconds since the run began. */
  readonly elapsed: number;
  readonly devices: number;
  readonly byState: Readonly<Record<VirtualDeviceState, number>>;
  readonly enrolled: number;
  /** Devices that were connected at some time. */
  readonly everConnected: number;
  readonly sent: number;
  readonly acknowledged: number;
  /** Messages that were rejected before they were acknowledged. */
  readonly failed: number;
  /** How often each error code came up: enrollment, connection, messages. */
  readonly errors: Readonly<Record<string, number>>;
  /** The same by sentence; from the 21st sentence on they are counted as one. */
  readonly causes: Readonly<Record<string, number>>;
  readonly lastValue: number | undefined;
  /** From publish to PUBACK. */
  readonly latency: Latency | undefined;
}

const MICROSECONDS = 1_000;
const CAUSES_AT_MOST = 20;
const OTHER_CAUSES = 'other causes';

export class FleetCounters {
  readonly #latency: RecordableHistogram = createHistogram({ lowest: 1, highest: 600_000_000, figures: 3 });
  readonly #errors = new Map<string, number>();
  readonly #causes = new Map<string, number>();
  sent = 0;
  acknowledged = 0;
  failed = 0;
  enrolled = 0;
  everConnected = 0;
  lastValue: number | undefined;

  /** A message was acknowledged `milliseconds` after it was published. */
  acknowledge(milliseconds: number): void {
    this.acknowledged += 1;
    this.#latency.record(Math.max(1, Math.round(milliseconds * MICROSECONDS)));
  }

  error(code: string, sentence: string): void {
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
    const isCounted = this.#causes.has(sentence) || this.#causes.size < CAUSES_AT_MOST;
    const cause = isCounted ? sentence : OTHER_CAUSES;
    this.#causes.set(cause, (this.#causes.get(cause) ?? 0) + 1);
  }

  snapshot(elapsed: number, states: Iterable<VirtualDeviceState>): FleetSnapshot {
    const byState = Object.fromEntries(VIRTUAL_DEVICE_STATES.map((state) => [state, 0])) as Record<
      VirtualDeviceState,
      number
    >;
    let devices = 0;
    for (const state of states) {
      byState[state] += 1;
      devices += 1;
    }
    return {
      elapsed,
      devices,
      byState,
      enrolled: this.enrolled,
      everConnected: this.everConnected,
      sent: this.sent,
      acknowledged: this.acknowledged,
      failed: this.failed,
      errors: Object.fromEntries(this.#errors),
      causes: Object.fromEntries(this.#causes),
      lastValue: this.lastValue,
      latency: this.#latencySoFar(),
    };
  }

  #latencySoFar(): Latency | undefined {
    if (this.#latency.count === 0) return undefined;
    const milliseconds = (percentile: number) => this.#latency.percentile(percentile) / MICROSECONDS;
    return { p50: milliseconds(50), p99: milliseconds(99), max: this.#latency.max / MICROSECONDS };
  }
}

/** `25 x the server cannot be reached`, the most frequent first. */
export function causeLines(causes: Readonly<Record<string, number>>): readonly string[] {
  return Object.entries(causes)
    .sort(([, a], [, b]) => b - a)
    .map(([cause, count]) => `${count} x ${cause}`);
}
