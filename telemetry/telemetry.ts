/** The interface of telemetry. `Source` is the type of device names; the events journal uses any string. */

import type { DeviceId } from '@rollcall/protocol';
import type {
  JournalMessage,
  SeriesQuery as JournalSeriesQuery,
  JournalStats,
  SegmentStats,
  Series,
  SeriesPoint,
  StoredJournalMessage,
} from '../storage/index.ts';
import type { Cursor } from './cursor.ts';
import type { Position } from './position.ts';
import type { StorageShares } from './storage-shares.ts';
import type { StreamLimit } from './stream-limit.ts';

export type { JournalStats as TelemetryStats, SegmentStats, Series, SeriesPoint };

export type TelemetryMessage<Source extends string = DeviceId> = JournalMessage<Source>;
export type StoredMessage<Source extends string = DeviceId> = Omit<StoredJournalMessage<Source>, 'position'> & {
  readonly position: Position;
  /** How far the reader is that has got this message; left out where the journal has one lane: then it is its position. */
  readonly cursor?: Cursor;
};
export type SeriesQuery<Source extends string = DeviceId> = JournalSeriesQuery<Source>;

/** Of one device, of these, or of all when left out. */
export interface DeviceSelection<Source extends string = DeviceId> {
  readonly device?: Source;
  readonly devices?: readonly Source[];
}

export interface TelemetryQuery<Source extends string = DeviceId> extends DeviceSelection<Source> {
  readonly stream?: string;
  /** Received at or after. */
  readonly since?: number;
  /** Received before. */
  readonly until?: number;
  /** Before this message, in the order of the journal. */
  readonly before?: Position;
  /** The newest so many, 1 to 10,000; they come oldest first. */
  readonly limit: number;
}

/** Any number of messages; a bound that is left out does not apply. */
export interface TelemetryRange<Source extends string = DeviceId> extends DeviceSelection<Source> {
  readonly stream?: string;
  readonly since?: number;
  readonly until?: number;
  /** What a reader that is here does not have. */
  readonly after?: Cursor;
}

/** Which messages a journal covers. */
export interface TelemetryBounds {
  /** Everything up to here was removed. */
  readonly begin: Cursor;
  /** Of a reader that has everything. */
  readonly end: Cursor;
}

/** How long messages are stored. The segment that is being written is never removed. */
export interface Retention {
  /** Messages of days that ended longer ago than this many ms are removed; 0: never. */
  readonly age: number;
  /** The oldest segments are removed while all together hold more bytes; 0: never. */
  readonly bytes: number;
  /** In place of `age`, for devices of these groups: ages by the name of the group; 0: never. */
  readonly groups?: Readonly<Record<string, number>>;
}

/** What the journal stored and what waits for it, since it was opened. */
export interface TelemetryCounters {
  readonly stored: number;
  /** QoS 0 among them. */
  readonly storedQos0: number;
  /** QoS 0 that was dropped. */
  readonly droppedQos0: number;
  /** QoS 1 and 2 that was refused, and so not acknowledged. */
  readonly refused: number;
  /** Sent again with the same key, and not stored again. */
  readonly repeated: number;
  readonly commits: number;
  /** Of the newest message that was stored here since the journal was opened. */
  readonly newest: Cursor;
  readonly queuedBytes: number;
  readonly isUnderPressure: boolean;
  /** The last write failed: messages are held while it is repeated. */
  readonly isHeld: boolean;
  /** Bytes free on the journal's disk; 0 when not monitored. */
  readonly diskFreeBytes: number;
  /** There is less than the floor, and nothing is stored. */
  readonly isDiskLow: boolean;
  /** Devices and groups whose messages wait because they are over their share. */
  readonly heldDevices: number;
  readonly heldGroups: number;
}

/** `repeated`: a message of the same device and key is in the journal, and stays the only one. */
export type Accepted = 'stored' | 'repeated';

/** Callbacks for one message. Exactly one is called, once, perhaps before `submit()` returns. */
export interface AcceptCallbacks {
  /** It is in the journal, on disk; of QoS 0 without a key: it was taken. */
  stored(): void;
  /** One of the same key is. */
  repeated(): void;
  /** It is not stored and must not be acknowledged. `error` is the Problem that `accept()` would reject with. */
  notStored(error: unknown): void;
}

export interface Telemetry<Source extends string = DeviceId> {
  /**
   * Resolves when the message is in the journal, on disk. The broker acknowledges only after that. QoS 0
   * resolves at once, unless it has a key. Rejects with Problem `unavailable` for what can't be stored.
   */
  accept(message: TelemetryMessage<Source>): Promise<Accepted>;
  /** The same with callbacks instead of a promise, for many messages. Callbacks of QoS 1 and 2 run in the order of submission. */
  submit(message: TelemetryMessage<Source>, callbacks: AcceptCallbacks): void;
  /**
   * Calls the listener whenever storage begins to fall behind, true, and when it has caught up, false. While it is under
   * pressure, callers should stop reading: what waits is bounded, and the rest is refused. Returns a function that removes the listener.
   */
  onPressure(listener: (isUnderPressure: boolean) => void): () => void;
  counters(): TelemetryCounters;
  /** What devices and groups stored today, and which are held. Refuses no message itself. */
  readonly shares: Pick<StorageShares, 'isHeld' | 'listen' | 'largest' | 'today'>;
  /** What is removed by itself: ages in milliseconds, and bytes. */
  readonly retention: Retention;
  /** Which streams a device may have. Refuses no message itself. */
  readonly streams: Pick<StreamLimit, 'admit' | 'max'>;
  /**
   * Fewer than the limit when they would hold more than 16 MiB of payload, and one at least: an empty result is the end. Throws
   * Problem `request_invalid` for an impossible limit or range.
   */
  query(query: TelemetryQuery<Source>): Promise<readonly StoredMessage<Source>[]>;
  /** Oldest first, in pages that are read on demand; ends at the newest message. The messages of a page are of one lane. */
  pages(range: TelemetryRange<Source>): AsyncIterable<readonly StoredMessage<Source>[]>;
  /** Throws Problem `request_invalid` for an impossible range, bucket or pointer. */
  series(query: SeriesQuery<Source>): Promise<Series>;
  /** What can be read now. */
  bounds(): Promise<TelemetryBounds>;
  /**
   * Where a reader begins that wants everything from a message on, or everything received at or after a time. Throws Problem
   * `request_invalid` when there is no such message.
   */
  cursorBefore(first: { readonly position: Position } | { readonly since: number }): Promise<Cursor>;
  stats(): Promise<JournalStats>;
  /** Applies the configured retention, or this: removes whole segments, or devices of groups from one. Returns what was removed. */
  prune(retention?: Retention): Promise<readonly SegmentStats[]>;
  /**
   * The newest message of each stream of each device, in their order; of one device, or of some, when named. One page of at most
   * 16 MiB of payload: the first, or the one after `DEVICE/STREAM`. An empty one is the end.
   */
  last(device?: Source | readonly Source[], after?: string): Promise<readonly StoredMessage<Source>[]>;
  /** Every message accepted from now on. Returns a function that removes the listener. */
  follow(device: Source | undefined, listener: (message: StoredMessage<Source>) => void): () => void;
  /** Calls the listener some milliseconds after messages were stored, once for any number. Returns a function that removes it. */
  onStored(listener: () => void): () => void;
  close(): Promise<void>;
}
