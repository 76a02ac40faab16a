/** Messages and results of a journal. `Source` is the type of the device names; the journal only compares them. */

import type { UserProperty } from '@rollcall/protocol';

export interface JournalMessage<Source extends string = string> {
  /** The device (or, in the events journal, the device or service) that the message is from or about. */
  readonly device: Source;
  /** The stream of that device. */
  readonly stream: string;
  /** From 1970 to the end of 9999. */
  readonly receivedAt: number;
  readonly qos: 0 | 1 | 2;
  /** The bytes as received. They must not change after the message was accepted. */
  readonly payload: Uint8Array;
  /** Time of measurement that the device sent. */
  readonly deviceTime?: number;
  /** Sequence number that the device sent. */
  readonly deviceSequence?: number;
  /**
   * Deduplicates the messages of a device: a message sent twice is stored once, as far back as the segment before the one being
   * written. 1 to 256 characters. Keys of the server begin with `/` (server-keys.ts) and are not returned to readers.
   */
  readonly key?: string;
  /** MQTT 5: MIME type, or any other description that sender and receiver agree on. */
  readonly contentType?: string | undefined;
  /** MQTT 5: 1 says that the payload is UTF-8, 0 that it is unspecified bytes. */
  readonly payloadFormatIndicator?: 0 | 1 | undefined;
  /** MQTT 5: in the order sent; a name may occur several times. An empty list is read back as none. */
  readonly userProperties?: readonly UserProperty[] | undefined;
  /** The group of the device, for the group's share of the day; not stored. */
  readonly group?: string;
}

export interface StoredJournalMessage<Source extends string = string> extends JournalMessage<Source> {
  /** Position in the journal: 1, 2, 3, …, in the order of acceptance. A damaged segment may leave a gap. */
  readonly position: number;
}

export interface SeriesQuery<Source extends string = string> {
  readonly device: Source;
  readonly stream: string;
  /** JSON Pointer (RFC 6901) of the number in a payload: `/celsius`; the empty text is the payload itself. */
  readonly pointer: string;
  readonly since: number;
  readonly until: number;
  /** Length of one point in ms; the range may hold 1 to 10,000 of them. Points begin at multiples of it. */
  readonly bucket: number;
}

export interface SeriesPoint {
  /** When it begins. */
  readonly at: number;
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly avg: number;
  readonly last: number;
}

export interface Series {
  /** In the order of time; without those in which nothing was received. */
  readonly points: readonly SeriesPoint[];
  /** Messages without a number at the pointer. */
  readonly ignored: number;
}

export interface SegmentStats {
  readonly name: string;
  readonly firstPosition: number;
  readonly messages: number;
  /** On disk, with its index. */
  readonly bytes: number;
}

/** Which positions a journal covers. */
export interface JournalBounds {
  /** Messages of smaller positions were removed. */
  readonly oldest: number;
  /** Of the newest message; one before `oldest` when there is none. */
  readonly newest: number;
}

export interface JournalStats {
  /** Oldest first. */
  readonly segments: readonly SegmentStats[];
  readonly messages: number;
  readonly bytes: number;
  /** Files that can't be read and were renamed to `*.damaged`. */
  readonly damaged: readonly string[];
}

/** The streams of one device. */
export type DeviceStreams = readonly [device: string, streams: readonly string[]];
