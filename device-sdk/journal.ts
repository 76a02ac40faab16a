/**
 * Messages on disk until they are settled: append-only segments, written in groups with one fsync each. It knows what is
 * stored and where; what may be dropped and when to send is decided in outbox-streams.ts and disk-outbox.ts.
 *
 * Segments are removed oldest first, so a record "settled" never goes before the message it speaks of. A segment that
 * holds few live messages is emptied by copying them to the end; sequence numbers, not places, give the order.
 */

import { randomBytes } from 'node:crypto';
import type { JournalFile, JournalFiles } from './journal-files.ts';
import { encodeMessage, encodeSettled, messageSize, type QueuedContent, type StoredMessage } from './journal-record.ts';
import { type RecoveredMessage, type RecoveredSegments, recoverSegments } from './journal-recovery.ts';
import { type JournalEntry, type Segment, SegmentReader, segmentName } from './journal-segment.ts';

/** What opening found. Zero everywhere but `messages` after an orderly end. */
export interface Recovery {
  /** Messages that were not settled. */
  readonly messages: number;
  /** Segments whose last write was interrupted. */
  readonly torn: number;
  /** Stretches of bytes that could not be read, with the messages in them. */
  readonly damaged: number;
}

export interface JournalOptions {
  readonly files: JournalFiles;
  /** Bytes after which a segment is followed by the next. */
  readonly segmentBytes: number;
  readonly now: () => number;
}

interface Pending {
  readonly entry: JournalEntry;
  readonly message: StoredMessage;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Bytes written with one fsync, about. */
const GROUP_BYTES = 1024 * 1024;
/** Settled messages that a crash may bring back, at most, and for how long (ms). A power cut: those of one segment. */
const SETTLED_MAX = 64;
const SETTLED_DELAY_MS = 1_000;

export class Journal {
  readonly #options: JournalOptions;
  readonly #epoch = randomBytes(6);
  readonly #reader: SegmentReader;
  readonly #segments: Segment[];
  #nextSequence: number;
  #nextNumber: number;
  /** The last of the segments while it can be written to. */
  #file: JournalFile | undefined;
  #pending: Pending[] = [];
  #settled: number[] = [];
  #writing: Promise<void> | undefined;
  #settledTimer: NodeJS.Timeout | undefined;
  #liveBytes = 0;

  private constructor(options: JournalOptions, found: RecoveredSegments) {
    this.#options = options;
    this.#reader = new SegmentReader(options.files);
    this.#segments = [...found.segments];
    this.#nextNumber = found.lastNumber + 1;
    this.#nextSequence = found.lastSequence + 1;
    for (const { entry } of found.messages) this.#liveBytes += entry.size;
  }

  /** Reads what is there, oldest first. What can't be read is counted and passed over. */
  static open(options: JournalOptions): {
    readonly journal: Journal;
    readonly messages: readonly RecoveredMessage[];
    readonly recovery: Recovery;
  } {
    const found = recoverSegments(options.files);
    const { messages, torn, damaged } = found;
    return {
      journal: new Journal(options, found),
      messages,
      recovery: { messages: messages.length, torn, damaged },
    };
  }

  /** Sequence number of the newest message. */
  get lastSequence(): number {
    return this.#nextSequence - 1;
  }

  /** Bytes of all segments. */
  get fileBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.size, 0);
  }

  /** Stored when `stored` resolves. Rejects with the file system's error; the message is then not in the journal. */
  append(message: QueuedContent): {
    readonly entry: JournalEntry;
    readonly stored: Promise<void>;
  } {
    const sequence = this.#nextSequence;
    this.#nextSequence += 1;
    const entry: JournalEntry = { sequence, epoch: this.#epoch, size: messageSize(message), segment: undefined, at: 0 };
    const queuedAt = Math.max(0, Math.floor(this.#options.now()));
    const stored = new Promise<void>((resolve, reject) => {
      const { topic, payload, properties } = message;
      this.#pending.push({
        entry,
        message: { sequence, epoch: this.#epoch, queuedAt, topic, payload, properties },
        resolve,
        reject,
      });
    });
    this.#write();
    return { entry, stored };
  }

  /** Undefined when it can't be read back. */
  read(entry: JournalEntry): StoredMessage | undefined {
    return this.#reader.read(entry);
  }

  /** The message needs no keeping any more. That itself is written a little later, and not synced. */
  settle(entry: JournalEntry): void {
    if (!this.#forget(entry)) return;
    this.#settled.push(entry.sequence);
    if (this.#settled.length >= SETTLED_MAX) this.#write();
    else this.#settledTimer ??= setTimeout(() => this.#write(), SETTLED_DELAY_MS).unref();
  }

  /** Writes and syncs what is due. Nothing may be appended any more. */
  async close(): Promise<void> {
    await this.#writing;
    this.#write();
    await this.#writing;
    clearTimeout(this.#settledTimer);
    await this.#file?.sync().catch(() => {});
    await this.#abandonFile();
  }

  #write(): void {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
      // What came between the last look and now.
      if (this.#pending.length > 0) this.#write();
    });
  }

  async #writeAll(): Promise<void> {
    await undefined; // what is appended in the same turn goes into one group
    do {
      const group = this.#takeGroup();
      const settled = this.#settled;
      this.#settled = [];
      clearTimeout(this.#settledTimer);
      this.#settledTimer = undefined;
      try {
        await this.#writeGroup(group, settled);
      } catch (error) {
        this.#settled = [...settled, ...this.#settled];
        for (const { reject } of group) reject(error);
        if (group.length === 0) return; // nobody waits for it; it comes with the next group
        continue;
      }
      for (const { resolve } of group) resolve();
      await this.#tidy();
    } while (this.#pending.length > 0 || this.#settled.length >= SETTLED_MAX);
  }

  #takeGroup(): readonly Pending[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#pending.length && bytes < GROUP_BYTES) {
      bytes += (this.#pending[count] as Pending).entry.size;
      count += 1;
    }
    return this.#pending.splice(0, count);
  }

  async #writeGroup(group: readonly Pending[], settled: readonly number[]): Promise<void> {
    if (group.length === 0 && settled.length === 0) return;
    const [segment, file] = await this.#openSegment();
    const records = group.map(({ message }) => encodeMessage(segment.mark, message));
    if (settled.length > 0) records.push(encodeSettled(segment.mark, settled));
    const bytes = records.length === 1 ? (records[0] as Buffer) : Buffer.concat(records);
    let at = segment.size;
    segment.size += bytes.length;
    try {
      await file.append(bytes);
      if (group.length > 0) await file.sync();
    } catch (error) {
      await this.#retract(segment, at, group);
      throw error;
    }
    for (const { entry } of group) {
      this.#place(entry, segment, at);
      this.#liveBytes += entry.size;
      at += entry.size;
    }
  }

  /** Part of a failed group may be on disk all the same. It must not count when the journal is opened again. */
  async #retract(segment: Segment, from: number, group: readonly Pending[]): Promise<void> {
    await this.#abandonFile();
    if (from === 0) {
      try {
        await this.#options.files.remove(segment.name);
        this.#segments.pop();
        return;
      } catch {
        // Then as below.
      }
    }
    for (const { entry } of group) this.#settled.push(entry.sequence);
  }

  #place(entry: JournalEntry, segment: Segment, at: number): void {
    entry.segment = segment;
    entry.at = at;
    segment.live.add(entry);
  }

  /** The segment to write to, a new one if there is none or the last is full. */
  async #openSegment(): Promise<readonly [Segment, JournalFile]> {
    const last = this.#segments.at(-1);
    if (this.#file !== undefined && last !== undefined && last.size < this.#options.segmentBytes) {
      return [last, this.#file];
    }
    await this.#abandonFile();
    const number = this.#nextNumber;
    this.#nextNumber += 1;
    const mark = randomBytes(4);
    const name = segmentName(number, mark);
    const file = await this.#options.files.create(name);
    const segment: Segment = { name, number, mark: mark.readUInt32BE(), size: 0, live: new Set() };
    this.#segments.push(segment);
    this.#file = file;
    return [segment, file];
  }

  /** Nothing is written behind what may be half a record, and no fsync is believed after one that failed. */
  async #abandonFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => {});
  }

  /** Removes what nobody needs any more; a failure costs space, and is tried again after the next group. */
  async #tidy(): Promise<void> {
    const { segmentBytes } = this.#options;
    try {
      for (let oldest = this.#oldestClosed(); oldest !== undefined; oldest = this.#oldestClosed()) {
        if (oldest.live.size > 0) {
          if (this.fileBytes <= 2 * this.#liveBytes + 2 * segmentBytes) return;
          await this.#copyToEnd(oldest);
        }
        await this.#options.files.remove(oldest.name);
        this.#segments.shift();
        this.#reader.forget(oldest);
      }
    } catch {
      await this.#abandonFile();
    }
  }

  #oldestClosed(): Segment | undefined {
    return this.#segments.length > 1 || this.#file === undefined ? this.#segments[0] : undefined;
  }

  #forget(entry: JournalEntry): boolean {
    if (entry.segment?.live.delete(entry) !== true) return false;
    entry.segment = undefined;
    this.#liveBytes -= entry.size;
    return true;
  }

  async #copyToEnd(oldest: Segment): Promise<void> {
    const [segment, file] = await this.#openSegment();
    const moves: { readonly entry: JournalEntry; readonly record: Buffer }[] = [];
    for (const entry of [...oldest.live]) {
      const message = this.read(entry);
      if (message === undefined)
        this.#forget(entry); // unreadable: the next attempt to send it fails
      else moves.push({ entry, record: encodeMessage(segment.mark, message) });
    }
    let at = segment.size;
    const bytes = Buffer.concat(moves.map(({ record }) => record));
    segment.size += bytes.length;
    await file.append(bytes);
    await file.sync();
    for (const { entry, record } of moves) {
      // One that was settled meanwhile is named by a record that comes behind its copy.
      if (oldest.live.delete(entry)) this.#place(entry, segment, at);
      at += record.length;
    }
  }
}
