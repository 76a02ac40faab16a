/**
 * The fleet's data as the rest of the house sees it: messages that were accepted, kept, and can be read back.
 * `openTelemetry()` gives the embedded journal. Times are milliseconds since the epoch.
 */

import type { DeviceId } from '../contract/identity.ts';

export interface TelemetryMessage {
  readonly device: DeviceId;
  /** Last level of `devices/{id}/telemetry/{stream}`. */
  readonly stream: string;
  readonly receivedAt: number;
  readonly qos: 0 | 1 | 2;
  /** The bytes as they came. */
  readonly payload: Uint8Array;
}

export interface StoredMessage extends TelemetryMessage {
  /** Position in the journal: 1, 2, 3, …, in the order of acceptance. */
  readonly position: number;
}

export interface TelemetryQuery {
  readonly device: DeviceId;
  readonly stream?: string;
  /** Received at or after. */
  readonly since?: number;
  /** The newest so many, 1 to 10,000; they come oldest first. */
  readonly limit: number;
}

export interface Telemetry {
  /** Resolves when the message is in the journal. The broker acknowledges only after that. */
  accept(message: TelemetryMessage): Promise<void>;
  query(query: TelemetryQuery): Promise<readonly StoredMessage[]>;
  /** The newest message of each stream of each device; of one device when named. */
  last(device?: DeviceId): Promise<readonly StoredMessage[]>;
  /** Every message accepted from now on. Returns the way to stop. */
  follow(device: DeviceId | undefined, listener: (message: StoredMessage) => void): () => void;
  close(): Promise<void>;
}
