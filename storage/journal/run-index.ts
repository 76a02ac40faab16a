/**
 * The writing half of a segment's index: which messages are of which device. A run lists the messages of some neighbouring
 * blocks sorted by device; short runs are merged to long ones, so that a query reads few. Also records the newest
 * message of each source. `segment-reader.ts` reads it.
 *
 * An entry is four unsigned numbers of 32 bits: device, source, position from the segment's first on, and how many ms after the
 * run's oldest message it was received (the largest number stands for longer).
 */

import type Database from 'better-sqlite3';
import { wordsOf } from './block.ts';

export const ENTRY_WORDS = 4;
export const LONG_AFTER = 0xffffffff;

/** Sources per row of `newest`. */
export const NEWEST_PER_ROW = 1024;

/** Entries per row: about a page. */
const ROW_ENTRIES = 500;

/** Runs that become one. */
const MERGED = 16;

/** Larger than the number of messages in any run: keys below are device times this, plus the number of the message. */
const KEY_STEP = 2_097_152;

/** Messages that no run holds yet. */
export interface Tail {
  readonly length: number;
  readonly devices: ArrayLike<number>;
  readonly sources: ArrayLike<number>;
  readonly times: ArrayLike<number>;
  /** Of the first of them; the others follow it without a gap. */
  readonly firstPosition: number;
}

interface RunRow {
  readonly last_position: number;
  readonly first_position: number;
  readonly is_merged: number;
  readonly oldest_at: number;
  readonly newest_at: number;
  readonly first_row: number;
  readonly row_devices: Buffer;
}

export class RunIndex {
  readonly #firstPosition: number;
  readonly #statements: Readonly<Record<keyof typeof SQL, Database.Statement>>;

  constructor(database: Database.Database, firstPosition: number) {
    this.#firstPosition = firstPosition;
    const prepared = Object.entries(SQL).map(([name, sql]) => [name, database.prepare(sql)]);
    this.#statements = Object.fromEntries(prepared) as Record<keyof typeof SQL, Database.Statement>;
  }

  /** Within a transaction of the caller. */
  addRun(tail: Tail): void {
    let [oldest, newest] = [Number.POSITIVE_INFINITY, 0];
    for (let i = 0; i < tail.length; i += 1) {
      oldest = Math.min(oldest, tail.times[i] as number);
      newest = Math.max(newest, tail.times[i] as number);
    }
    const entries = new Uint32Array(tail.length * ENTRY_WORDS);
    const from = tail.firstPosition - this.#firstPosition;
    for (let i = 0; i < tail.length; i += 1) {
      const at = i * ENTRY_WORDS;
      entries[at] = tail.devices[i] as number;
      entries[at + 1] = tail.sources[i] as number;
      entries[at + 2] = from + i;
      entries[at + 3] = Math.min((tail.times[i] as number) - oldest, LONG_AFTER);
    }
    const extent = { first: tail.firstPosition, last: tail.firstPosition + tail.length - 1, oldest, newest };
    this.#insert({ ...extent, isMerged: 0 }, sortedByDevice(entries));
    if ((this.#statements.unmergedCount.get() as { count: number }).count >= MERGED) this.merge();
  }

  /** Makes one of all runs that were not merged yet, and remembers the newest message of each source in it. */
  merge(): void {
    const runs = this.#statements.unmerged.all() as RunRow[];
    if (runs.length === 0) return;
    const oldest = Math.min(...runs.map((run) => run.oldest_at));
    const parts = runs.map((run) => this.#entriesOf(run, oldest));
    const entries = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let end = 0;
    for (const part of parts) {
      entries.set(part, end);
      end += part.length;
    }
    for (const run of runs) {
      this.#statements.removeRows.run(run.first_row, run.first_row + run.row_devices.length / 4 - 1);
      this.#statements.removeRun.run(run.last_position);
    }
    const sorted = sortedByDevice(entries);
    this.#insert(
      {
        first: (runs[0] as RunRow).first_position,
        last: (runs.at(-1) as RunRow).last_position,
        isMerged: 1,
        oldest,
        newest: Math.max(...runs.map((run) => run.newest_at)),
      },
      sorted,
    );
    this.#rememberNewest(sorted);
  }

  /** Entries of a run, their times counted from another moment. */
  #entriesOf(run: RunRow, oldest: number): Uint32Array {
    const rows = this.#statements.rows.all(run.first_row, run.first_row + run.row_devices.length / 4 - 1) as {
      readonly entries: Buffer;
    }[];
    const entries = new Uint32Array(new Uint8Array(Buffer.concat(rows.map((row) => row.entries))).buffer);
    const later = run.oldest_at - oldest;
    if (later > 0) {
      for (let at = 3; at < entries.length; at += ENTRY_WORDS) {
        entries[at] = entries[at] === LONG_AFTER ? LONG_AFTER : Math.min((entries[at] as number) + later, LONG_AFTER);
      }
    }
    return entries;
  }

  #insert(
    run: { first: number; last: number; isMerged: number; oldest: number; newest: number },
    entries: Uint32Array<ArrayBuffer>,
  ): void {
    const firstRow = ((this.#statements.lastRow.get() as { last: number | null }).last ?? 0) + 1;
    const step = ROW_ENTRIES * ENTRY_WORDS;
    const rows = Math.ceil(entries.length / step);
    const devices = new Uint32Array(rows);
    for (let row = 0; row < rows; row += 1) {
      const part = entries.subarray(row * step, (row + 1) * step);
      devices[row] = part[0] as number;
      this.#statements.addRow.run(firstRow + row, Buffer.from(part.buffer, part.byteOffset, part.byteLength));
    }
    this.#statements.addRun.run({ ...run, firstRow, rowDevices: Buffer.from(devices.buffer) });
  }

  #rememberNewest(entries: Uint32Array): void {
    const rows = new Map<number, Float64Array>();
    for (let at = 0; at < entries.length; at += ENTRY_WORDS) {
      const source = entries[at + 1] as number;
      const number = Math.floor(source / NEWEST_PER_ROW);
      let row = rows.get(number);
      if (row === undefined) {
        row = this.#newestRow(number);
        rows.set(number, row);
      }
      const position = this.#firstPosition + (entries[at + 2] as number);
      const place = source % NEWEST_PER_ROW;
      if (position > (row[place] as number)) row[place] = position;
    }
    for (const [number, row] of rows) this.#statements.setNewest.run(number, Buffer.from(row.buffer));
  }

  #newestRow(number: number): Float64Array {
    const found = this.#statements.newest.get(number) as { readonly positions: Buffer } | undefined;
    return found === undefined ? new Float64Array(NEWEST_PER_ROW) : positionsOf(found.positions);
  }
}

const SQL = {
  addRun: `INSERT INTO runs (last_position, first_position, is_merged, oldest_at, newest_at, first_row, row_devices)
    VALUES (@last, @first, @isMerged, @oldest, @newest, @firstRow, @rowDevices)`,
  unmerged: 'SELECT * FROM runs WHERE is_merged = 0 ORDER BY last_position',
  unmergedCount: 'SELECT count(*) AS count FROM runs WHERE is_merged = 0',
  removeRun: 'DELETE FROM runs WHERE last_position = ?',
  rows: 'SELECT entries FROM run_rows WHERE id BETWEEN ? AND ? ORDER BY id',
  lastRow: 'SELECT max(id) AS last FROM run_rows',
  addRow: 'INSERT INTO run_rows (id, entries) VALUES (?, ?)',
  removeRows: 'DELETE FROM run_rows WHERE id BETWEEN ? AND ?',
  newest: 'SELECT positions FROM newest WHERE id = ?',
  setNewest:
    'INSERT INTO newest (id, positions) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET positions = excluded.positions',
};

/** Positions of one row of `newest`; 0 where nothing is known. */
export function positionsOf(bytes: Buffer): Float64Array {
  return new Float64Array(new Uint8Array(bytes).buffer);
}

/** By device; those of one device stay in the order of their positions. */
function sortedByDevice(entries: Uint32Array): Uint32Array<ArrayBuffer> {
  const count = entries.length / ENTRY_WORDS;
  const keys = new Float64Array(count);
  for (let i = 0; i < count; i += 1) keys[i] = (entries[i * ENTRY_WORDS] as number) * KEY_STEP + i;
  keys.sort();
  const sorted = new Uint32Array(entries.length);
  for (let i = 0; i < count; i += 1) {
    const from = ((keys[i] as number) % KEY_STEP) * ENTRY_WORDS;
    for (let word = 0; word < ENTRY_WORDS; word += 1) sorted[i * ENTRY_WORDS + word] = entries[from + word] as number;
  }
  return sorted;
}

/** Entries of one row of `run_rows`. */
export function entriesOf(bytes: Buffer): Uint32Array {
  return wordsOf(bytes);
}
