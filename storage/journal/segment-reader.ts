/** Reads one segment, while another thread may be writing it. Each query reads one snapshot of the file. */

import type Database from 'better-sqlite3';
import { openDatabaseToRead } from '../database-file.ts';
import { type Block, type BlockRow, lengthOf, qosOf, readBlock, sourceOf, splitBytes, timeOf, WORDS } from './block.ts';
import type { Row, SourceNames } from './packed-rows.ts';
import { type Run, RunReader } from './run-reader.ts';

/** Selects messages. Times are milliseconds, `since` inclusive, `until` exclusive. */
export interface MessageFilter {
  /** Of all devices when undefined. */
  readonly devices: readonly string[] | undefined;
  readonly stream: string | undefined;
  readonly since: number;
  readonly until: number;
  /** The same number stands for the same devices: they are looked up once. */
  readonly selection?: number;
}

export interface Source extends SourceNames {
  readonly id: number;
  readonly deviceId: number;
}

/** Bound of cached source names. */
const MAX_KNOWN_SOURCES = 100_000;

/** SQLite page cache per file. */
const CACHE_KIB = 8192;

const BLOCK = 'SELECT position, checksum, meta, data FROM blocks';

const SEGMENT = 'SELECT first_position, forgotten, forgotten_messages FROM segment';

const SOURCES = 'SELECT s.id, s.device AS deviceId, d.name AS device, s.stream FROM';

type Visit = (row: Row) => boolean;

export class SegmentReader {
  readonly firstPosition: number;
  /** Which devices' messages were removed, and how many. */
  readonly removed: { readonly mark: string; readonly messages: number };
  readonly #database: Database.Database;
  readonly #runs: RunReader;
  readonly #statements: Readonly<
    Record<'device' | 'lastDevice' | 'source' | 'lastBlock' | 'block', Database.Statement>
  >;
  #sources = new Map<number, Source>();
  /** All of them by device and stream, and the newest that is among them. */
  #sorted: { readonly sources: readonly Source[]; readonly newest: number } | undefined;
  #selected: { readonly selection: number; readonly newest: number; readonly ids: ReadonlySet<number> } | undefined;
  /** The block that was read last: consecutive positions are usually read in turn. */
  #block: Block | undefined;

  constructor(file: string) {
    const database = openDatabaseToRead(file);
    this.#database = database;
    try {
      database.pragma(`cache_size = -${CACHE_KIB}`);
      const [first, mark, messages] = database.prepare(SEGMENT).raw().get() as [number, string, number];
      this.firstPosition = first;
      this.removed = { mark, messages };
      this.#runs = new RunReader(database, this.firstPosition);
      this.#statements = {
        device: database.prepare('SELECT id FROM devices WHERE name = ?').pluck(),
        lastDevice: database.prepare('SELECT coalesce(max(id), 0) FROM devices').pluck(),
        source: database.prepare(`${SOURCES} sources AS s JOIN devices AS d ON d.id = s.device WHERE s.id = ?`),
        lastBlock: database.prepare(`${BLOCK} ORDER BY position DESC LIMIT 1`).raw(),
        block: database.prepare(`${BLOCK} WHERE position <= ? ORDER BY position DESC LIMIT 1`).raw(),
      };
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Visits messages before a position, newest first, until `visit` returns false. */
  newestFirst(wanted: MessageFilter, before: number, visit: Visit): void {
    const visitEarlier: Visit = (row) => row.position >= before || visit(row);
    this.#inSnapshot(() => {
      const ids = this.#idsOf(wanted);
      if (ids?.size === 0) return;
      const tail = this.#blocksAfter(this.#runs.end()).filter(({ position }) => position < before);
      for (const block of tail.reverse()) {
        if (!this.#visitBlock(block, ids, wanted, visitEarlier, 'newest first')) return;
      }
      for (const run of this.#runs.overlapping(wanted).reverse()) {
        if (run.first >= before) continue;
        const positions = this.#positionsIn(run, ids, wanted).filter((position) => position < before);
        for (const position of positions.reverse()) if (!this.#visitAt(position, wanted, visit)) return;
      }
    });
  }

  /** Visits messages after a position, oldest first, until `visit` returns false. */
  oldestFirst(wanted: MessageFilter, after: number, visit: Visit): void {
    const visitLater: Visit = (row) => row.position <= after || visit(row);
    this.#inSnapshot(() => {
      const ids = this.#idsOf(wanted);
      if (ids?.size === 0) return;
      for (const run of this.#runs.overlapping({ ...wanted, after })) {
        if (ids === undefined) {
          for (const block of this.#blocks(Math.max(after, run.first - 1), run.last)) {
            if (!this.#visitBlock(block, ids, wanted, visitLater, 'oldest first')) return;
          }
          continue;
        }
        for (const position of this.#positionsIn(run, ids, wanted)) {
          if (position > after && !this.#visitAt(position, wanted, visit)) return;
        }
      }
      for (const block of this.#blocks(Math.max(after, this.#runs.end()), Number.MAX_SAFE_INTEGER)) {
        if (!this.#visitBlock(block, ids, wanted, visitLater, 'oldest first')) return;
      }
    });
  }

  /** The newest message of each source, by device and stream, in whichever segment it is. */
  newest(wanted: Pick<MessageFilter, 'devices'>): { readonly source: SourceNames; readonly position: number }[] {
    return this.#inSnapshot(() => {
      const ids = this.#idsOf(wanted);
      if (ids?.size === 0) return [];
      const newest = this.#runs.newest(ids);
      for (const block of this.#blocksAfter(this.#runs.end())) {
        for (let i = 0; i < block.count; i += 1) {
          const source = sourceOf(block.meta, i);
          if (source !== 0) newest.set(source, block.position + i);
        }
      }
      const found: { source: SourceNames; position: number }[] = [];
      for (const source of this.#sourcesOf(ids)) {
        const position = newest.get(source.id);
        if (position !== undefined) found.push({ source, position });
      }
      return found;
    });
  }

  /** Position of the newest message; one before the first in an empty segment. */
  end(): number {
    const last = this.#statements.lastBlock.get() as BlockRow | undefined;
    return last === undefined ? this.firstPosition - 1 : last[0] + last[2].length / (WORDS * 4) - 1;
  }

  /** How many messages it holds. */
  count(): number {
    return this.end() - this.firstPosition + 1 - this.removed.messages;
  }

  at(position: number): Row | undefined {
    const block = this.#blockAt(position);
    if (block === undefined || sourceOf(block.meta, position - block.position) === 0) return undefined;
    let start = 0;
    for (let i = 0; i < position - block.position; i += 1) start += lengthOf(block.meta, i);
    return this.#rowOf(block, position - block.position, start);
  }

  close(): void {
    this.#database.close();
  }

  /** Undefined stands for all of them. */
  #idsOf({ devices, selection }: Pick<MessageFilter, 'devices' | 'selection'>): ReadonlySet<number> | undefined {
    if (devices === undefined) return undefined;
    const newest = this.#statements.lastDevice.get() as number; // one that was not here before may be wanted
    const known = this.#selected;
    if (known !== undefined && known.selection === selection && known.newest === newest) return known.ids;
    const ids = new Set<number>();
    for (const name of devices) {
      const id = this.#statements.device.get(name) as number | undefined;
      if (id !== undefined) ids.add(id);
    }
    if (selection !== undefined) this.#selected = { selection, newest, ids };
    return ids;
  }

  /** In their order. Those whose time or stream is another are left out where the index knows it. */
  #positionsIn(run: Run, ids: ReadonlySet<number> | undefined, wanted: MessageFilter): number[] {
    const positions: number[] = [];
    this.#runs.entries(run, ids, wanted, (source, position) => {
      if (wanted.stream === undefined || this.#source(source).stream === wanted.stream) positions.push(position);
    });
    return ids?.size === 1 ? positions : positions.sort((one, other) => one - other);
  }

  #visitAt(position: number, { since, until }: MessageFilter, visit: Visit): boolean {
    const row = this.at(position);
    if (row === undefined || row.receivedAt < since || row.receivedAt >= until) return true;
    return visit(row);
  }

  #visitBlock(
    block: Block,
    ids: ReadonlySet<number> | undefined,
    { stream, since, until }: MessageFilter,
    visit: Visit,
    order: 'oldest first' | 'newest first',
  ): boolean {
    const { meta, count } = block;
    const found: Row[] = [];
    let start = 0;
    for (let i = 0; i < count; start += lengthOf(meta, i), i += 1) {
      const number = sourceOf(meta, i);
      const time = timeOf(meta, i);
      if (number === 0 || time < since || time >= until) continue;
      const source = this.#source(number);
      if (ids !== undefined && !ids.has(source.deviceId)) continue;
      if (stream !== undefined && source.stream !== stream) continue;
      found.push(this.#rowOf(block, i, start));
    }
    if (order === 'newest first') found.reverse();
    return found.every(visit);
  }

  #rowOf(block: Block, index: number, start: number): Row {
    const { meta, data } = block;
    const bytes = data.subarray(start, start + lengthOf(meta, index));
    const { payload, extras } = splitBytes(meta, index, bytes);
    return {
      position: block.position + index,
      source: this.#source(sourceOf(meta, index)),
      receivedAt: timeOf(meta, index),
      qos: qosOf(meta, index),
      payload,
      ...extras,
    };
  }

  #blockAt(position: number): Block | undefined {
    const known = this.#block;
    if (known !== undefined && position >= known.position && position < known.position + known.count) return known;
    const found = this.#statements.block.get(position) as BlockRow | undefined;
    const block = found && readBlock(found);
    this.#block = block;
    return block !== undefined && position < block.position + block.count ? block : undefined;
  }

  /** Those that hold positions after one and up to another. */
  *#blocks(after: number, last: number): Generator<Block> {
    let next = after + 1;
    while (next <= last) {
      const block = this.#blockAt(next);
      if (block === undefined) return;
      yield block;
      next = block.position + block.count;
    }
  }

  #blocksAfter(after: number): Block[] {
    return [...this.#blocks(after, Number.MAX_SAFE_INTEGER)];
  }

  #source(id: number): Source {
    let source = this.#sources.get(id);
    if (source === undefined) {
      source = this.#statements.source.get(id) as Source;
      if (this.#sources.size >= MAX_KNOWN_SOURCES) this.#sources = new Map();
      this.#sources.set(id, source);
    }
    return source;
  }

  /** By device and stream. */
  #sourcesOf(ids: ReadonlySet<number> | undefined): readonly Source[] {
    if (ids !== undefined && ids.size === 1) {
      const sql = `${SOURCES} sources AS s JOIN devices AS d ON d.id = s.device WHERE s.device = ? ORDER BY s.stream`;
      return this.#database.prepare(sql).all(...ids) as Source[];
    }
    const newest = this.#database.prepare('SELECT coalesce(max(id), 0) FROM sources').pluck().get() as number;
    if (this.#sorted?.newest !== newest) {
      const sql = `${SOURCES} devices AS d CROSS JOIN sources AS s ON s.device = d.id ORDER BY d.name, s.stream`;
      this.#sorted = { sources: this.#database.prepare(sql).all() as Source[], newest };
    }
    const { sources } = this.#sorted;
    return ids === undefined ? sources : sources.filter(({ deviceId }) => ids.has(deviceId));
  }

  #inSnapshot<Value>(read: () => Value): Value {
    // The cached block may be of an earlier snapshot.
    this.#block = undefined;
    return this.#database.transaction(read)();
  }
}
