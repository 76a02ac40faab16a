/** State, reasons of state changes, and log interface of a device. */

import type { DeviceError } from './device-error.ts';

/**
 * - `unenrolled`: the device has no identity and does not enroll.
 * - `enrolling`: the device exchanges its bootstrap token for an identity.
 * - `connecting`: a connection attempt is in progress.
 * - `connected`: the broker accepted the device.
 * - `renewing`: the device requests the next certificate and connects with it. Published messages wait.
 * - `recovering`: the connection was lost or refused, and the next attempt is scheduled; after a refusal, not before half a
 *   minute.
 * - `revoked`: the enroll server refused this device's certificate (HTTP 401 or 403). The device sends no more requests until
 *   it receives a new bootstrap token.
 * - `closed`: the application closed the device.
 */
export type DeviceState =
  | 'unenrolled'
  | 'enrolling'
  | 'connecting'
  | 'connected'
  | 'renewing'
  | 'recovering'
  | 'revoked'
  | 'closed';

/** Why a state began. */
export type StateReason =
  | 'no identity'
  | 'token given'
  | 'not enrolled'
  | 'first try'
  | 'next try'
  | 'accepted'
  | 'connection lost'
  | 'connection refused'
  | 'renewal began'
  | 'renewed'
  | 'renewal failed'
  | 'refused for good'
  | 'closed';

/** `error` is the cause, if the change has one. */
export type StateListener = (state: DeviceState, error: DeviceError | undefined, reason: StateReason) => void;

/** A message that the broker refused: its topic with the key, if it has one, and why. It is not sent again. */
export type RefusalListener = (topic: string, error: DeviceError) => void;

/** The states of the MQTT connection alone. */
export type ConnectionState = 'connecting' | 'connected' | 'recovering';

/** The part of a pino logger that the SDK uses. */
export interface DeviceLog {
  debug(fields: object, phrase: string): void;
  info(fields: object, phrase: string): void;
  warn(fields: object, phrase: string): void;
}

export const SILENT_LOG: DeviceLog = { debug() {}, info() {}, warn() {} };
