/** Reads the journal: queries that span segments. Writes nothing. */

import { basename } from 'node:path';
import { Problem } from '@rollcall/protocol';
import Database from 'better-sqlite3';
import { isDamage } from '../storage-problem.ts';
import type { DeviceStreams, JournalBounds, JournalStats, SegmentStats } from './message.ts';
import { memoryOf, type Row } from './packed-rows.ts';
import { dayOf, listDamaged, listSegments, type SegmentName, segmentBytes } from './segment-names.ts';
import { type MessageFilter, SegmentReader } from './segment-reader.ts';
import type { SeriesSums } from './series.ts';

/** Segments that stay open between queries. */
const MAX_OPEN = 16;

/** Newest messages in one page. */
const MAX_IN_PAGE = 10_000;

const SERIES_PAGE_BYTES = 16_777_216;

const DAY_MS = 86_400_000;

export class JournalReader {
  readonly #directory: string;
  readonly #open = new Map<string, SegmentReader>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The newest so many before a position, oldest first; fewer when they would hold more bytes than allowed, and one at least. */
  query(wanted: MessageFilter, before: number, limit: number, mostBytes: number): Row[] {
    const found: Row[] = [];
    let bytes = 0;
    let isFull = false;
    for (const segment of this.#segments().reverse()) {
      this.#read(segment, (reader) =>
        reader.newestFirst(wanted, before, (message) => {
          bytes += memoryOf(message);
          isFull = bytes > mostBytes && found.length > 0;
          if (!isFull) found.push(message);
          isFull ||= found.length === limit;
          return !isFull;
        }),
      );
      if (isFull) break;
    }
    return found.reverse();
  }

  /** The next so many after a position, oldest first; fewer when they would hold more bytes than allowed. */
  page(wanted: MessageFilter, after: number, limit: number, mostBytes: number): Row[] {
    const found: Row[] = [];
    let bytes = 0;
    let isFull = false;
    const segments = this.#segments();
    for (const [index, segment] of segments.entries()) {
      const next = segments[index + 1];
      if (next !== undefined && this.#read(next, (reader) => reader.firstPosition) <= after + 1) continue;
      this.#read(segment, (reader) =>
        reader.oldestFirst(wanted, after, (message) => {
          bytes += memoryOf(message);
          found.push(message);
          isFull = found.length === limit || bytes >= mostBytes;
          return !isFull;
        }),
      );
      if (isFull) break;
    }
    return found;
  }

  /** One page in the order of devices and streams, after `DEVICE/STREAM`: as many as the bytes allow, and one at least. */
  last(devices: readonly string[] | undefined, mostBytes: number, after: string): Row[] {
    const segments = this.#segments();
    const current = segments.at(-1);
    if (current === undefined) return [];
    const [device = '', stream = ''] = after.split('/', 2);
    const newest = this.#read(current, (reader) => reader.newest({ devices })).filter(
      ({ source }) => source.device > device || (source.device === device && source.stream > stream),
    );
    const firsts = segments.map((name) => this.#read(name, (reader) => reader.firstPosition));
    const page: Row[] = [];
    let bytes = 0;
    for (const { position } of newest) {
      const place = firsts.findLastIndex((first) => first <= position);
      const row = place < 0 ? undefined : this.#read(segments[place] as SegmentName, (reader) => reader.at(position));
      if (row === undefined) continue; // it was removed
      bytes += memoryOf(row);
      if (bytes > mostBytes && page.length > 0) break;
      page.push(row);
      if (page.length === MAX_IN_PAGE) break;
    }
    return page;
  }

  /** The streams of each device whose newest message is in a segment of the last so many days. */
  streams(days: number): DeviceStreams[] {
    const segments = this.#segments();
    const current = segments.at(-1);
    if (current === undefined) return [];
    const since = dayOf(Date.parse(current.day) - days * DAY_MS);
    const first = segments.find(({ day }) => day >= since) ?? current;
    const oldest = this.#read(first, (reader) => reader.firstPosition);
    const found = new Map<string, string[]>();
    for (const { source, position } of this.#read(current, (reader) => reader.newest({ devices: undefined }))) {
      if (position < oldest) continue;
      const streams = found.get(source.device);
      if (streams === undefined) found.set(source.device, [source.stream]);
      else streams.push(source.stream);
    }
    return [...found];
  }

  /** Goes through the next so many messages after a position. */
  series(wanted: MessageFilter, after: number, limit: number, sums: SeriesSums): { readonly next: number | undefined } {
    const page = this.page(wanted, after, limit, SERIES_PAGE_BYTES);
    for (const row of page) sums.add(row.receivedAt, row.payload);
    return { next: page.at(-1)?.position };
  }

  bounds(): JournalBounds {
    const segments = this.#segments();
    const [first, last] = [segments[0], segments.at(-1)];
    if (first === undefined || last === undefined) return { oldest: 1, newest: 0 };
    return {
      oldest: this.#read(first, (reader) => reader.firstPosition),
      newest: this.#read(last, (reader) => reader.end()),
    };
  }

  stats(): JournalStats {
    const segments = this.#segments().map((name) => this.segmentStats(name));
    return {
      segments,
      messages: segments.reduce((sum, { messages }) => sum + messages, 0),
      bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
      damaged: listDamaged(this.#directory),
    };
  }

  segmentStats(name: SegmentName): SegmentStats {
    const { firstPosition, messages } = this.#read(name, (reader) => ({
      firstPosition: reader.firstPosition,
      messages: reader.count(),
    }));
    return { name: basename(name.file), firstPosition, messages, bytes: segmentBytes(name) };
  }

  close(): void {
    for (const reader of this.#open.values()) reader.close();
    this.#open.clear();
  }

  /** Oldest first; closes those that were removed. */
  #segments(): SegmentName[] {
    const names = listSegments(this.#directory);
    const files = new Set(names.map(({ file }) => file));
    for (const [file, reader] of this.#open) {
      if (files.has(file)) continue;
      reader.close();
      this.#open.delete(file);
    }
    return names;
  }

  #read<Value>({ file }: SegmentName, read: (reader: SegmentReader) => Value): Value {
    try {
      let reader = this.#open.get(file);
      if (reader === undefined) {
        reader = new SegmentReader(file);
        const [eldest] = this.#open;
        if (eldest !== undefined && this.#open.size >= MAX_OPEN) {
          eldest[1].close();
          this.#open.delete(eldest[0]);
        }
        this.#open.set(file, reader);
      }
      return read(reader);
    } catch (error) {
      throw readingProblem(error, file);
    }
  }
}

function readingProblem(error: unknown, file: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  return new Problem(isDamage(error) ? 'database_damaged' : 'unavailable', {
    reason: `${file}: ${error.code}: ${error.message}`,
    cause: error,
  });
}
