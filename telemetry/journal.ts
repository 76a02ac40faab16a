/**
 * The journal as its writer sees it: segments by day, appended to one after the other. Begins a segment when a day
 * begins, and puts one aside that turns out to be damaged. Does not decide what makes a batch, and reads nothing back.
 */

import { chmodSync, mkdirSync, renameSync } from 'node:fs';
import { basename } from 'node:path';
import Database from 'better-sqlite3';
import { Problem } from '../contract/problem.ts';
import type { Batch } from './batch.ts';
import { timeOf } from './block.ts';
import { type ForgetOrder, removeDraft } from './forgetting.ts';
import { ReceivedNames } from './names.ts';
import { type Kept, planRetention } from './retention.ts';
import { type Appended, Segment } from './segment.ts';
import { createSegmentFile, expectWhole, isDamage, storageProblem, syncDirectory } from './segment-file.ts';
import { SegmentReader } from './segment-reader.ts';
import {
  dayOf,
  listSegments,
  removeSegment,
  replacedSegments,
  type SegmentName,
  segmentBytes,
  segmentName,
  setAside,
} from './segments.ts';
import type { SegmentStats } from './telemetry.ts';

const DAY_MS = 86_400_000;

/** No message is smaller: what a segment that can't be read held at most. */
const SMALLEST_MESSAGE = 16;

/** A newest segment of up to so many bytes is read through when the journal is opened: about half a second. */
const MOST_CHECKED = 268_435_456;

export interface JournalOptions {
  readonly directory: string;
  readonly mostChecked?: number;
  /** A segment that has grown so large is followed by another one of the same day. */
  readonly segmentBytes?: number;
  /** Begins a segment of this day, and leaves so many positions out. */
  readonly leap?: { readonly positions: number; readonly day: string };
}

const SEGMENT_BYTES = 4 * 1024 ** 3;

/** Appends between two looks at how large the segment is. */
const SIZE_CHECKED_EVERY = 64;

export interface Pruned {
  readonly removed: readonly SegmentStats[];
  /** What is left to do, of which files: a copy without some devices, and then `replace()`. */
  readonly forgetting: readonly (Omit<ForgetOrder, 'devices'> & { readonly groups: readonly string[] })[];
  /** How far the clock is ahead of the time that retention goes by, in ms. */
  readonly ahead: number;
}

interface Current {
  readonly name: SegmentName;
  readonly segment: Segment;
}

export class Journal {
  readonly #directory: string;
  readonly #setAside: string[] = [];
  readonly #names = new ReceivedNames();
  /** Of segments that rest, by file. */
  readonly #extents = new Map<string, Extent>();
  #current: Current | undefined;
  /** The segment before the current one, to ask for keys. */
  #older: Database.Database | undefined;
  #olderKey: Database.Statement | undefined;
  readonly #segmentBytes: number;
  #appends = 0;
  #isTooLarge = false;
  /** What the next segment begins with, where there is no current one. */
  #nextPosition = 1;

  /** Creates the directory, mode 0700. Throws Problem `data_directory_unusable`, `database_older` or `database_newer`. */
  constructor({ directory, mostChecked = MOST_CHECKED, segmentBytes: bytes = SEGMENT_BYTES, leap }: JournalOptions) {
    this.#segmentBytes = bytes;
    this.#directory = directory;
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
    if (this.#current !== undefined) this.#openOlder(older.at(-1));
    if (leap !== undefined) this.#begin(leap.day, leap.positions);
  }

  /** Files that were found damaged since the last time this was asked. */
  takeSetAside(): string[] {
    return this.#setAside.splice(0);
  }

  /**
   * All of them or none; when this returns they are on disk. Throws Problem `unavailable` when storage is full, busy or
   * failing, and the same batch may be tried again.
   */
  append(batch: Batch): Appended {
    this.#names.add(batch.names);
    try {
      return this.#segmentOf(batch).append(batch, this.#names);
    } catch (error) {
      const current = this.#current;
      if (!isDamage(error) || current === undefined) throw storageProblem(error);
      this.#nextPosition = current.segment.end + 1;
      this.#current = undefined;
      current.segment.close();
      this.#putAside(current.name);
    }
    try {
      return this.#segmentOf(batch).append(batch, this.#names);
    } catch (error) {
      throw storageProblem(error);
    }
  }

  /** Removes whole segments, never the one that is written, and says of which others something is not to be kept. */
  prune(kept: Kept, now: number): Pruned {
    const names = this.#resting();
    // A file is opened only where it matters, and once: what rests doesn't change.
    const extent = (name: SegmentName) => this.#extentOf(name);
    const resting = names.map((name) => ({
      day: name.day,
      bytes: segmentBytes(name),
      get forgotten() {
        return extent(name).forgotten;
      },
    }));
    const written = this.#current?.name;
    const current = written && { day: written.day, bytes: segmentBytes(written) };
    const plan = planRetention(kept, { resting, current, now });
    const removed: SegmentStats[] = [];
    for (const index of plan.removed) {
      const name = names[index] as SegmentName;
      const { bytes } = resting[index] as (typeof resting)[number];
      const { firstPosition, messages } = extent(name);
      if (index === names.length - 1) this.#openOlder(undefined);
      removeSegment(name);
      this.#extents.delete(name.file);
      removed.push({ name: basename(name.file), bytes, firstPosition, messages });
    }
    const forgetting = plan.forgetting.map(({ index, ...rest }) => {
      const { file } = names[index] as SegmentName;
      return { ...rest, file, draft: `${file}.new` };
    });
    return { removed, forgetting, ahead: plan.ahead };
  }

  /** Puts a copy in the place of a segment: a new edition of it. Returns what went, or undefined when the segment is gone. */
  replace(file: string, draft: string, forgotten: number): SegmentStats | undefined {
    const names = this.#resting();
    const name = names.find((one) => one.file === file);
    if (name === undefined) {
      removeDraft(draft);
      return undefined;
    }
    const before = segmentBytes(name);
    const edition = segmentName(this.#directory, name.number, name.day, name.edition + 1);
    chmodSync(draft, 0o600);
    renameSync(draft, edition.file);
    syncDirectory(this.#directory);
    const isOlder = file === names.at(-1)?.file;
    if (isOlder) this.#openOlder(edition);
    removeSegment(name);
    this.#extents.delete(file);
    const { firstPosition } = this.#extentOf(edition);
    return { name: basename(file), bytes: before - segmentBytes(edition), firstPosition, messages: forgotten };
  }

  #extentOf(name: SegmentName): Extent {
    const extent = this.#extents.get(name.file) ?? extentOf(name);
    this.#extents.set(name.file, extent);
    return extent;
  }

  #resting(): SegmentName[] {
    return listSegments(this.#directory).filter(({ file }) => file !== this.#current?.name.file);
  }

  close(): void {
    this.#older?.close();
    this.#current?.segment.close();
    this.#current = undefined;
  }

  /**
   * A day begins a segment. A clock that steps back writes on where it is: positions tell the order, times are only
   * what a message says. One that was days ahead, and is right again, begins a segment of the right day.
   */
  #segmentOf(batch: Batch): Segment {
    const time = timeOf(batch.meta, 0);
    const day = dayOf(time);
    const current = this.#current;
    if (current === undefined) return this.#begin(day);
    this.#appends += 1;
    if (this.#appends % SIZE_CHECKED_EVERY === 0) this.#isTooLarge = current.segment.bytes > this.#segmentBytes;
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
    const heir = newest && { older: newest.file, oldestPosition: oldestPositionOf(names) };
    try {
      createSegmentFile(name.file, { firstPosition, ...(heir !== undefined && { heir }) });
    } catch (error) {
      if (!isDamage(error)) throw error;
      createSegmentFile(name.file, { firstPosition });
    }
    const segment = this.#openSegment(name);
    this.#current = { name, segment };
    this.#isTooLarge = false;
    current?.segment.close();
    this.#openOlder(newest);
    return segment;
  }

  #openSegment(name: SegmentName): Segment {
    return new Segment(name.file, (device, key) => this.#knewKey(device, key));
  }

  #openOlder(name: SegmentName | undefined): void {
    this.#older?.close();
    this.#older = undefined;
    this.#olderKey = undefined;
    if (name === undefined) return;
    try {
      this.#older = new Database(name.file, { readonly: true, fileMustExist: true });
      this.#olderKey = this.#older.prepare(
        'SELECT 1 FROM message_keys WHERE device = (SELECT id FROM devices WHERE name = ?) AND key = ?',
      );
    } catch (error) {
      if (!isDamage(error)) throw error; // one that can't be read knows no keys; its readers will say so
    }
  }

  #knewKey(device: string, key: string): boolean {
    return this.#olderKey?.get(device, key) !== undefined;
  }

  #isWhole(name: SegmentName): boolean {
    try {
      expectWhole(name.file);
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
    const database = new Database(file, { readonly: true, fileMustExist: true });
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

interface Extent {
  readonly firstPosition: number;
  readonly messages: number;
  readonly forgotten: string;
}

function extentOf({ file }: SegmentName): Extent {
  try {
    const reader = new SegmentReader(file);
    try {
      return { firstPosition: reader.firstPosition, messages: reader.count(), forgotten: reader.forgotten.mark };
    } finally {
      reader.close();
    }
  } catch {
    return { firstPosition: 0, messages: 0, forgotten: '' }; // one that can't be read may go like any other
  }
}
