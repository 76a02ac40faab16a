/** The report of one SDK device, and the observer that receives it. */

import type { DeviceError } from '@rollcall/device-sdk';

/**
 * `waiting`: its turn to enroll has not come. `connecting`: enrolled, and not connected at the moment. `refused`: it got
 * no certificate. `connection refused`: the broker does not accept it any more. `stopped`: it ended with the run.
 */
export const DEVICE_STATES = [
  'waiting',
  'enrolling',
  'connecting',
  'connected',
  'refused',
  'connection refused',
  'stopped',
] as const;
export type DeviceState = (typeof DEVICE_STATES)[number];

export interface DeviceReport {
  /** Position in the fleet, from 0. */
  readonly index: number;
  /** Unknown until it is enrolled, unless it asked for a name. */
  readonly id: string | undefined;
  readonly state: DeviceState;
  /** True once it has a certificate. */
  readonly isEnrolled: boolean;
  /** Since when, in milliseconds since 1970. */
  readonly since: number;
  /** When its last connection broke, in milliseconds since 1970. */
  readonly lostAt: number | undefined;
  /** Messages handed to the SDK, and those that the broker acknowledged. */
  readonly sent: number;
  readonly acknowledged: number;
  /** Messages without an acknowledgement. */
  readonly unacknowledged: number;
  readonly lastValue: number | undefined;
  /** Code of its last error, and its sentence. */
  readonly error: string | undefined;
  readonly reason: string | undefined;
}

export type FailedStep = 'enrollment' | 'connection' | 'message';

/** Told at once of what happens to devices. */
export interface DeviceObserver {
  /** The state of a device has changed, or a message was acknowledged. */
  changed(report: DeviceReport): void;
  failed(error: DeviceError, step: FailedStep, index: number): void;
}
