/**
 * The fleet's data as the rest of the house sees it: messages that were accepted, kept, and can be read back.
 * `openTelemetry()` gives the embedded journal. Times are milliseconds since the epoch.
 */

import type { DeviceId } from '../contract/identity.ts';

export interface TelemetryMessage {
  readonly device: DeviceId;
  /** Last level of `devices/{id}/telemetry/{stream}`. */
  readonly stream: string;
  /** From 1970 to the end of 9999. */
  readonly receivedAt: number;
  readonly qos: 0 | 1 | 2;
  /** The bytes as they came. They must not change after the message was handed over. */
  readonly payload: Uint8Array;
  /** When the device says it measured this, if it says so. */
  readonly deviceTime?: number;
  /** The device's own count, if it sends one. */
  readonly deviceSequence?: number;
  /** Names this message among all of its device: sent twice, it is stored once. 1 to 256 characters. */
  readonly key?: string;
  readonly contentType?: string;
}

export interface StoredMessage extends TelemetryMessage {
  /** Position in the journal: 1, 2, 3, …, in the order of acceptance. A damaged segment may leave a gap. */
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

/** What the journal takes in, and what waits for it. Counts are since it was opened. */
export interface TelemetryCounters {
  readonly stored: number;
  /** QoS 0 among them. */
  readonly storedQos0: number;
  /** QoS 0 that was given up: nobody waits for it. */
  readonly droppedQos0: number;
  /** QoS 1 and 2 that was refused, and so not acknowledged. */
  readonly refused: number;
  /** Sent again with the same key, and not stored again. */
  readonly repeated: number;
  readonly commits: number;
  readonly queuedBytes: number;
  readonly isUnderPressure: boolean;
}

export interface Telemetry {
  /**
   * Resolves when the message is in the journal, on disk. The broker acknowledges only after that. QoS 0 has nobody who
   * waits: it resolves at once. Rejects with Problem `unavailable` for what can't be stored.
   */
  accept(message: TelemetryMessage): Promise<void>;
  /**
   * Calls the listener whenever storage begins to fall behind, true, and when it has caught up, false. While it is under
   * pressure whoever can stop reading should: what waits is bounded, and the rest is refused. Returns the way to stop.
   */
  onPressure(listener: (isUnderPressure: boolean) => void): () => void;
  counters(): TelemetryCounters;
  query(query: TelemetryQuery): Promise<readonly StoredMessage[]>;
  /** The newest message of each stream of each device; of one device when named. */
  last(device?: DeviceId): Promise<readonly StoredMessage[]>;
  /** Every message accepted from now on. Returns the way to stop. */
  follow(device: DeviceId | undefined, listener: (message: StoredMessage) => void): () => void;
  close(): Promise<void>;
}
