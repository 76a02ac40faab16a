/** What a device tells about itself: its state, and its log. */

/**
 * `connecting`: a try is under way. `connected`: the broker accepted the device. `waiting`: the connection was lost, the
 * next try is scheduled. `refused`: one of both sides did not accept the other's certificate or identity; the next try
 * comes after half a minute at the earliest, since only an operator can change the answer. `closed`: for good.
 */
export type DeviceState = 'connecting' | 'connected' | 'waiting' | 'refused' | 'closed';

/** The part of a pino logger that the SDK uses. */
export interface DeviceLog {
  debug(fields: object, phrase: string): void;
  info(fields: object, phrase: string): void;
  warn(fields: object, phrase: string): void;
}

export const SILENT_LOG: DeviceLog = { debug() {}, info() {}, warn() {} };
