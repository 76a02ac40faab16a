/** Projects the result of a drill onto the fleet: how long it would take to renew, and how many devices would be lost. Pure. */

import type { ReplacedRole } from './drill-options.ts';

/** The fleet as its registry counts it. */
export interface FleetCounts {
  /** Devices and services that hold nothing but certificates of the CA that signs now. */
  readonly dependents: number;
  /** Services among them: they don't renew by themselves. */
  readonly services: number;
  /** Devices whose time to renew is over: they are likely to be away. */
  readonly late: number;
  /** Bootstrap tokens that can be used: each names the root of now. */
  readonly tokens: number;
  /** Connected at the moment; undefined where no server could be asked. */
  readonly connected: number | undefined;
  /** Renewals per second that its settings allow. */
  readonly budgetPerSecond: number;
}

export interface Projection extends Omit<FleetCounts, 'tokens'> {
  readonly devices: number;
  /** From taint to the end of the last window, milliseconds. */
  readonly renewMs: number;
  /** Average while the windows are open. */
  readonly renewalsPerSecond: number;
  /** A device that is offline for all of that time is lost. */
  readonly lost: {
    /** `connected` gives this count where it is known, `late` where it isn't. */
    readonly offlineNow: number;
    readonly services: number;
    /** The root stays, or the old one cross-signs the new one: no device is lost for its trust bundle. */
    readonly oldBundle: 0;
    /** Bootstrap tokens that are useless afterwards. */
    readonly tokens: number;
    /** Measured with one device whose clock is slow and one whose clock is fast. */
    readonly clockWrong: 'none' | 'all of them';
  };
}

/** A window is this part of the whole, and not shorter than a minute. */
const WINDOW_PART = 1 / 20;
const WINDOW_LEAST_MS = 60_000;

/** `measuredPerSecond`: what this machine issued when it was asked for all at once, enrollments. `clocks`: whether devices with a wrong clock were kept. */
export function projectRotation(
  counts: FleetCounts,
  drilled: {
    readonly withinMs: number;
    readonly measuredPerSecond: number;
    readonly clocks: 'kept' | 'lost';
    readonly replaced: ReplacedRole;
  },
): Projection {
  const devices = Math.max(0, counts.dependents - counts.services);
  const possible = Math.min(counts.budgetPerSecond, drilled.measuredPerSecond);
  const span = devices === 0 ? 0 : Math.max(drilled.withinMs, (devices / possible) * 1_000);
  const offlineNow = counts.connected === undefined ? counts.late : Math.max(0, devices - counts.connected);
  return {
    ...counts,
    devices,
    renewMs: devices === 0 ? 0 : Math.round(span + Math.max(span * WINDOW_PART, WINDOW_LEAST_MS)),
    renewalsPerSecond: span === 0 ? 0 : devices / (span / 1_000),
    lost: {
      offlineNow,
      services: counts.services,
      oldBundle: 0,
      tokens: drilled.replaced === 'root' ? counts.tokens : 0,
      clockWrong: drilled.clocks === 'kept' ? 'none' : 'all of them',
    },
  };
}
