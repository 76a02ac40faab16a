/** The journal as its readers see it: questions that span segments. Writes nothing. */

import { basename } from 'node:path';
import Database from 'better-sqlite3';
import { Problem } from '../contract/problem.ts';
import { isDamage } from '../sqlite/storage-problem.ts';
import type { Row } from './packed.ts';
import { SegmentReader, type Wanted } from './segment-reader.ts';
import { listDamaged, listSegments, type SegmentName, segmentBytes } from './segments.ts';
import type { SeriesSums } from './series.ts';
import type { SegmentStats, TelemetryStats } from './telemetry.ts';

/** Segments that are kept open between questions. */
const MOST_OPEN = 16;

/** Newest messages in one page. */
const MOST_IN_PAGE = 10_000;

const SERIES_PAGE_BYTES = 16_777_216;

export class JournalReader {
  readonly #directory: string;
  readonly #open = new Map<string, SegmentReader>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The newest so many, oldest first. Throws Problem `request_invalid` when they hold more bytes than allowed. */
  query(wanted: Wanted, limit: number, mostBytes: number): Row[] {
    const found: Row[] = [];
    const room = roomFor(mostBytes);
    for (const segment of this.#segments().reverse()) {
      this.#read(segment, (reader) =>
        reader.newestFirst(wanted, (message) => {
          room(message);
          return found.push(message) < limit;
        }),
      );
      if (found.length === limit) break;
    }
    return found.reverse();
  }

  /** The next so many after a position, oldest first; fewer when they would hold more bytes than allowed. */
  page(wanted: Wanted, after: number, limit: number, mostBytes: number): Row[] {
    const found: Row[] = [];
    let bytes = 0;
    let isFull = false;
    const segments = this.#segments();
    for (const [index, segment] of segments.entries()) {
      const next = segments[index + 1];
      if (next !== undefined && this.#read(next, (reader) => reader.firstPosition) <= after + 1) continue;
      this.#read(segment, (reader) =>
        reader.oldestFirst(wanted, after, (message) => {
          bytes += message.payload.length;
          found.push(message);
          isFull = found.length === limit || bytes >= mostBytes;
          return !isFull;
        }),
      );
      if (isFull) break;
    }
    return found;
  }

  /**
   * In the order of devices and streams, those after `DEVICE/STREAM`: as many as the bytes allow, and one at least. Without `after`
   * all of them, or Problem `request_invalid`.
   */
  last(devices: readonly string[] | undefined, mostBytes: number, after?: string): Row[] {
    const segments = this.#segments();
    const current = segments.at(-1);
    if (current === undefined) return [];
    let newest = this.#read(current, (reader) => reader.newest({ devices }));
    if (after !== undefined) {
      const [device = '', stream = ''] = after.split('/', 2);
      newest = newest.filter(
        ({ source }) => source.device > device || (source.device === device && source.stream > stream),
      );
    }
    const room = roomFor(mostBytes);
    const rows = new Map<number, Row>();
    const firsts = segments.map((name) => this.#read(name, (reader) => reader.firstPosition));
    if (after !== undefined) {
      const page: Row[] = [];
      let bytes = 0;
      for (const { position } of newest) {
        const place = firsts.findLastIndex((first) => first <= position);
        const row = place < 0 ? undefined : this.#read(segments[place] as SegmentName, (reader) => reader.at(position));
        if (row === undefined) continue; // it isn't kept any more
        bytes += row.payload.length;
        if (bytes > mostBytes && page.length > 0) break;
        page.push(row);
        if (page.length === MOST_IN_PAGE) break;
      }
      return page;
    }
    let at = 0;
    // In the order of positions, so that neighbours are read together.
    for (const position of Float64Array.from(newest, (one) => one.position).sort()) {
      while (at + 1 < firsts.length && (firsts[at + 1] as number) <= position) at += 1;
      const row = this.#read(segments[at] as SegmentName, (reader) => reader.at(position));
      if (row === undefined) continue; // it isn't kept any more
      room(row);
      rows.set(position, row);
    }
    return newest.flatMap(({ position }) => rows.get(position) ?? []);
  }

  /** Goes through the next so many messages after a position. */
  series(wanted: Wanted, after: number, limit: number, sums: SeriesSums): { readonly next: number | undefined } {
    const page = this.page(wanted, after, limit, SERIES_PAGE_BYTES);
    for (const row of page) sums.add(row.receivedAt, row.payload);
    return { next: page.at(-1)?.position };
  }

  stats(): TelemetryStats {
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

  /** Oldest first; lets go of those that were removed. */
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
        if (eldest !== undefined && this.#open.size >= MOST_OPEN) {
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

/** Counts the bytes of an answer, and refuses the message that makes them too many. */
function roomFor(mostBytes: number): (row: Row) => void {
  let bytes = 0;
  return (row) => {
    bytes += row.payload.length;
    if (bytes <= mostBytes) return;
    throw new Problem('request_invalid', {
      detail: `expected at most ${mostBytes} bytes of payload in an answer, found more: ask for fewer messages, or in pages`,
    });
  };
}

function readingProblem(error: unknown, file: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  return new Problem(isDamage(error) ? 'database_damaged' : 'unavailable', {
    reason: `${file}: ${error.code}: ${error.message}`,
    cause: error,
  });
}
