/** What a device tells about itself: its state, why it changed, and its log. */

import type { DeviceError } from './device-error.ts';

/**
 * - `unenrolled`: there is no identity, and none is asked for.
 * - `enrolling`: the bootstrap token is being exchanged for one.
 * - `connecting`: a try to connect is under way.
 * - `connected`: the broker accepted the device.
 * - `renewing`: the next certificate is asked for and has to prove itself. What is published waits, at most.
 * - `recovering`: the connection was lost or refused; the next try is scheduled, after half a minute at the earliest if it
 *   was refused.
 * - `revoked`: the enroll server said no to this device's certificate (HTTP 401 or 403). It asks nobody anything any more,
 *   until it is given a new bootstrap token.
 * - `closed`: for good.
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

/** `error` is what went wrong, where something did. */
export type StateListener = (state: DeviceState, error: DeviceError | undefined, reason: StateReason) => void;

/** What the states `connecting`, `connected` and `recovering` are made of. */
export type ConnectionState = 'connecting' | 'connected' | 'recovering';

/** The part of a pino logger that the SDK uses. */
export interface DeviceLog {
  debug(fields: object, phrase: string): void;
  info(fields: object, phrase: string): void;
  warn(fields: object, phrase: string): void;
}

export const SILENT_LOG: DeviceLog = { debug() {}, info() {}, warn() {} };
