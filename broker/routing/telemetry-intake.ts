/** The part of `telemetry/` that the broker uses. */

import type { AcceptCallbacks, Accepted, TelemetryMessage } from '../../telemetry/index.ts';
import type { StorageShares } from '../mqtt/storage-share-limiter.ts';

export interface TelemetryIntake {
  /** Resolves when the message is stored. PUBACK is sent only after that. */
  accept(message: TelemetryMessage): Promise<Accepted>;
  /** The same, reported by a call to `waiting`. */
  submit(message: TelemetryMessage, waiting: AcceptCallbacks): void;
  /** Reports when storage falls behind (true) and when it has caught up (false). Returns the function that stops. */
  onPressure(listener: (isBehind: boolean) => void): () => void;
  /** Devices that exceed their share of the journal. */
  readonly shares?: StorageShares;
  /** How many streams a device may have. */
  readonly streams?: StreamAdmission;
}

/** The limit on the streams of one device. */
export interface StreamAdmission {
  /** Whether a device may send to a stream. If so, the device has the stream from then on. */
  admit(device: string, stream: string): boolean;
  readonly max: number;
  /** What the device has; not in a node. */
  of?(device: string): readonly string[];
  /** In a node: the streams of a device whose session starts. `admit()` is false until then. */
  load?(device: string, streams: readonly string[]): void;
  /** In a node: the session of the device ended. */
  release?(device: string): void;
}
