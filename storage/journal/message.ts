/** What a journal stores and answers. `Source` is the type of the names that messages come from; a journal only compares them. */

export interface JournalMessage<Source extends string = string> {
  /** Whom it is from, or is about. */
  readonly device: Source;
  /** Its series among those of the device. */
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
  /**
   * Names this message among all of its device: sent twice, it is stored once, as far back as the segment before the one
   * that is written. 1 to 256 characters. The server's own begin with `/` (own-keys.ts), and are not given back to readers.
   */
  readonly key?: string;
  readonly contentType?: string;
  /** The group that its device is in, for the group's share of the day; it is not stored. */
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
  /** Messages that had no number there. */
  readonly ignored: number;
}

export interface SegmentStats {
  readonly name: string;
  readonly firstPosition: number;
  readonly messages: number;
  /** On disk, with its index. */
  readonly bytes: number;
}

export interface JournalStats {
  /** Oldest first. */
  readonly segments: readonly SegmentStats[];
  readonly messages: number;
  readonly bytes: number;
  /** Files that can't be read and were put aside. */
  readonly damaged: readonly string[];
}

/** The streams of one device. */
export type DeviceStreams = readonly [device: string, streams: readonly string[]];
