/**
 * Writes the journal: segments by day, appended to one after the other. Begins a segment with each day, and sets a damaged one
 * aside. Reads no messages.
 */

import { mkdirSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { expectFileNotTruncated, openDatabaseToRead } from '../database-file.ts';
import { isDamage, storageProblem } from '../storage-problem.ts';
import { timeOf } from './block.ts';
import { ClosedSegments, type PruneResult } from './closed-segments.ts';
import type { SegmentStats } from './message.ts';
import { PreviousSegmentKeys } from './previous-segment-keys.ts';
import type { RetentionRules } from './retention.ts';
import { type Appended, Segment, type SentBatch } from './segment.ts';
import { createSegmentFile, SEGMENT } from './segment-file.ts';
import {
  dayOf,
  listSegments,
  removeSegment,
  replacedSegments,
  type SegmentName,
  segmentBytes,
  segmentName,
  setAside,
} from './segment-names.ts';

const DAY_MS = 86_400_000;

/** No message is smaller: bounds how many messages an unreadable segment held. */
const SMALLEST_MESSAGE = 16;

/** A newest segment of up to so many bytes is read through when the journal is opened: about half a second. */
const MAX_CHECKED = 268_435_456;

export interface JournalOptions {
  readonly directory: string;
  readonly mostChecked?: number;
  /** A segment that has grown so large is followed by another one of the same day. */
  readonly segmentBytes?: number;
  /** Begins a segment of this day, and leaves so many positions out. */
  readonly leap?: { readonly positions: number; readonly day: string };
  /** Messages with keys that were sent before: left out unless this is a copy of a journal, in which each was stored. */
  readonly repeats?: 'left out' | 'stored';
}

const SEGMENT_BYTES = 4 * 1024 ** 3;

/** The size of the segment is checked after so many appends, and after this part of its bound. */
const SIZE_CHECKED_EVERY = 64;
const SIZE_CHECKED_AFTER_PART = 8;

interface Current {
  readonly name: SegmentName;
  readonly segment: Segment;
}

export class Journal {
  readonly #directory: string;
  readonly #setAside: string[] = [];
  #current: Current | undefined;
  readonly #olderKeys = new PreviousSegmentKeys();
  readonly #closed: ClosedSegments;
  readonly #segmentBytes: number;
  readonly #repeats: 'left out' | 'stored';
  #appends = 0;
  #bytesUnchecked = 0;
  #isTooLarge = false;
  /** What the next segment begins with, where there is no current one. */
  #nextPosition = 1;

  /** Creates the directory, mode 0700. Throws Problem `data_directory_unusable`, `database_older` or `database_newer`. */
  constructor(options: JournalOptions) {
    const { directory, mostChecked = MAX_CHECKED, segmentBytes: bytes = SEGMENT_BYTES, leap } = options;
    this.#segmentBytes = bytes;
    this.#repeats = options.repeats ?? 'left out';
    this.#directory = directory;
    this.#closed = new ClosedSegments(directory, this.#olderKeys);
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new Problem('data_directory_unusable', { reason: `${directory}: ${(error as Error).message}` });
    }
    for (const name of replacedSegments(directory)) removeSegment(name);
    const names = listSegments(directory);
    let doubtfulBytes = 0;
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      const segment = this.#openUnlessDamaged(name, mostChecked);
      if (segment === undefined) {
        doubtfulBytes += segmentBytes(name);
        this.#putAside(name);
        continue;
      }
      // Positions are never given twice, not even those of messages that can't be read any more.
      this.#nextPosition = segment.end + 1;
      if (doubtfulBytes === 0) this.#current = { name, segment };
      else segment.close();
      break;
    }
    this.#nextPosition += Math.ceil(doubtfulBytes / SMALLEST_MESSAGE);
    const older = names.filter((name) => this.#isWhole(name));
    if (this.#current !== undefined) this.#olderKeys.open(older.at(-1));
    if (leap !== undefined) this.#begin(leap.day, leap.positions);
  }

  /** Files that were found damaged since the last call. */
  takeSetAside(): string[] {
    return this.#setAside.splice(0);
  }

  /**
   * All batches or none, in one commit and in their order; when this returns they are on disk. The names of each were received
   * before. Throws Problem `unavailable` when storage is full, busy or failing, and the same may be tried again.
   */
  append(sent: readonly SentBatch[]): Appended[] {
    try {
      return this.#segmentOf(sent).append(sent);
    } catch (error) {
      const current = this.#current;
      if (!isDamage(error) || current === undefined) throw storageProblem(error);
      this.#nextPosition = current.segment.end + 1;
      this.#current = undefined;
      current.segment.close();
      this.#putAside(current.name);
    }
    try {
      return this.#segmentOf(sent).append(sent);
    } catch (error) {
      throw storageProblem(error);
    }
  }

  /** Begins a segment of this day, and gives so many positions to no message. */
  leaveOut(positions: number, day: string): void {
    this.#begin(day, positions);
  }

  /** Removes whole segments, never the one that is written, and returns which others are to be rewritten. */
  prune(rules: RetentionRules, now: number): PruneResult {
    return this.#closed.prune(rules, now, this.#current?.name);
  }

  /** Replaces a segment by its copy. Returns what was removed, or undefined when the segment is gone. */
  replace(file: string, draft: string, removedMessages: number): SegmentStats | undefined {
    return this.#closed.replace({ file, draft, removedMessages }, this.#current?.name);
  }

  close(): void {
    this.#olderKeys.close();
    this.#current?.segment.close();
    this.#current = undefined;
  }

  /**
   * A day begins a segment. A clock that steps back writes on where it is: positions tell the order, times are only
   * what a message says. One that was days ahead, and is right again, begins a segment of the right day.
   */
  #segmentOf(sent: readonly SentBatch[]): Segment {
    const time = timeOf((sent[0] as SentBatch).batch.meta, 0);
    const day = dayOf(time);
    const current = this.#current;
    if (current === undefined) return this.#begin(day);
    this.#appends += 1;
    for (const { batch } of sent) this.#bytesUnchecked += batch.data.byteLength;
    if (
      this.#appends % SIZE_CHECKED_EVERY === 0 ||
      this.#bytesUnchecked > this.#segmentBytes / SIZE_CHECKED_AFTER_PART
    ) {
      this.#bytesUnchecked = 0;
      this.#isTooLarge = current.segment.bytes > this.#segmentBytes;
    }
    const isNext = this.#isTooLarge || day > current.name.day || dayOf(time + DAY_MS) < current.name.day;
    return isNext ? this.#begin(day) : current.segment;
  }

  #begin(day: string, leftOut = 0): Segment {
    const current = this.#current;
    const names = listSegments(this.#directory);
    const newest = names.at(-1);
    const name = segmentName(this.#directory, (newest?.number ?? 0) + 1, day);
    current?.segment.complete();
    const firstPosition = leftOut + (current === undefined ? this.#nextPosition : current.segment.end + 1);
    const previous = newest && { older: newest.file, oldestPosition: oldestPositionOf(names) };
    try {
      createSegmentFile(name.file, { firstPosition, ...(previous !== undefined && { previous }) });
    } catch (error) {
      if (!isDamage(error)) throw error;
      createSegmentFile(name.file, { firstPosition });
    }
    const segment = this.#openSegment(name);
    this.#current = { name, segment };
    this.#isTooLarge = false;
    current?.segment.close();
    this.#olderKeys.open(newest);
    return segment;
  }

  #openSegment(name: SegmentName): Segment {
    return new Segment(name.file, (device, key) => this.#olderKeys.has(device, key), this.#repeats);
  }

  #isWhole(name: SegmentName): boolean {
    try {
      expectFileNotTruncated(name.file, SEGMENT);
      return true;
    } catch (error) {
      if (!isDamage(error)) return true; // opening it will say why
      this.#putAside(name);
      return false;
    }
  }

  #openUnlessDamaged(name: SegmentName, mostChecked: number): Segment | undefined {
    let segment: Segment | undefined;
    try {
      segment = this.#openSegment(name);
      if (segmentBytes(name) <= mostChecked) segment.check();
      return segment;
    } catch (error) {
      segment?.close();
      if (isDamage(error)) return undefined;
      throw error;
    }
  }

  #putAside(name: SegmentName): void {
    setAside(name);
    this.#setAside.push(`${name.file}.damaged`);
  }
}

/** Where what can be read begins; 0 when nothing can. */
function oldestPositionOf(names: readonly SegmentName[]): number {
  for (const { file } of names) {
    const database = openDatabaseToRead(file);
    try {
      return database.prepare('SELECT first_position FROM segment').pluck().get() as number;
    } catch (error) {
      if (!isDamage(error)) throw error;
    } finally {
      database.close();
    }
  }
  return 0;
}
