/** The reading half of a segment's index; `run-index.ts` says what it holds. */

import type Database from 'better-sqlite3';
import { wordsOf } from './block.ts';
import { ENTRY_WORDS, entriesOf, LONG_AFTER, NEWEST_PER_ROW, positionsOf } from './run-index.ts';

export interface Run {
  readonly first: number;
  readonly last: number;
  readonly oldestAt: number;
  readonly newestAt: number;
  readonly firstRow: number;
  readonly rowDevices: Buffer;
}

interface Between {
  readonly since: number;
  readonly until: number;
  /** Of positions greater than this one. */
  readonly after?: number;
}

/** Up to so many devices are sought one by one; for more, all entries are scanned. */
const MAX_SOUGHT = 8;

const COLUMNS = `first_position AS first, last_position AS last, oldest_at AS oldestAt, newest_at AS newestAt,
  first_row AS firstRow, row_devices AS rowDevices`;

export class RunReader {
  readonly #firstPosition: number;
  readonly #statements: Readonly<Record<keyof typeof SQL, Database.Statement>>;

  constructor(database: Database.Database, firstPosition: number) {
    this.#firstPosition = firstPosition;
    const prepared = Object.entries(SQL).map(([name, sql]) => [name, database.prepare(sql)]);
    this.#statements = Object.fromEntries(prepared) as Record<keyof typeof SQL, Database.Statement>;
  }

  /** The last position that a run holds. */
  end(): number {
    return (this.#statements.end.get() as { last: number | null }).last ?? this.#firstPosition - 1;
  }

  /** Oldest first: those that may hold messages of a stretch of time. */
  overlapping({ since, until, after = 0 }: Between): Run[] {
    return this.#statements.overlapping.all({ since, until, after }) as Run[];
  }

  /** Visits each entry of some devices, or of all; unordered when there are several. */
  entries(
    run: Run,
    ids: ReadonlySet<number> | undefined,
    { since, until }: Between,
    visit: (source: number, position: number) => void,
  ): void {
    const isSought = ids !== undefined && ids.size <= MAX_SOUGHT;
    for (const row of isSought ? rowsOf(run, ids) : allRowsOf(run)) {
      const entries = this.#row(run.firstRow + row);
      for (let at = 0; at < entries.length; at += ENTRY_WORDS) {
        if (ids !== undefined && !ids.has(entries[at] as number)) continue;
        const later = entries[at + 3] as number;
        const time = run.oldestAt + later;
        if (later !== LONG_AFTER && (time < since || time >= until)) continue;
        visit(entries[at + 1] as number, this.#firstPosition + (entries[at + 2] as number));
      }
    }
  }

  /** Position of the newest message of each source that runs know, by its number. */
  newest(ids: ReadonlySet<number> | undefined): Map<number, number> {
    const newest = new Map<number, number>();
    const note = (source: number, position: number) => {
      if (position > (newest.get(source) ?? 0)) newest.set(source, position);
    };
    if (ids?.size === 1) this.#newestOfDevice([...ids][0] as number, note);
    else {
      for (const { id, positions } of this.#statements.allNewest.all() as { id: number; positions: Buffer }[]) {
        const row = positionsOf(positions);
        for (let place = 0; place < row.length; place += 1) {
          const position = row[place] as number;
          if (position > 0) newest.set(id * NEWEST_PER_ROW + place, position);
        }
      }
    }
    const always = { since: 0, until: Number.MAX_SAFE_INTEGER };
    for (const run of this.#statements.unmerged.all() as Run[]) this.entries(run, ids, always, note);
    return newest;
  }

  #newestOfDevice(device: number, note: (source: number, position: number) => void): void {
    for (const { id } of this.#statements.sourcesOf.all(device) as { id: number }[]) {
      const row = this.#statements.newest.get(Math.floor(id / NEWEST_PER_ROW)) as { positions: Buffer } | undefined;
      const position = row === undefined ? 0 : positionsOf(row.positions)[id % NEWEST_PER_ROW];
      if (position !== undefined && position > 0) note(id, position);
    }
  }

  #row(id: number): Uint32Array {
    return entriesOf((this.#statements.row.get(id) as { entries: Buffer }).entries);
  }
}

const SQL = {
  end: 'SELECT max(last_position) AS last FROM runs',
  overlapping: `SELECT ${COLUMNS} FROM runs
    WHERE last_position > @after AND newest_at >= @since AND oldest_at < @until ORDER BY last_position`,
  unmerged: `SELECT ${COLUMNS} FROM runs WHERE is_merged = 0 ORDER BY last_position`,
  row: 'SELECT entries FROM run_rows WHERE id = ?',
  allNewest: 'SELECT id, positions FROM newest',
  newest: 'SELECT positions FROM newest WHERE id = ?',
  sourcesOf: 'SELECT id FROM sources WHERE device = ?',
};

function allRowsOf({ rowDevices }: Run): number[] {
  return Array.from({ length: rowDevices.length / 4 }, (_, row) => row);
}

/** Rows in which one of the devices may be. */
function rowsOf({ rowDevices }: Run, ids: ReadonlySet<number>): Iterable<number> {
  const devices = wordsOf(rowDevices);
  const rows = new Set<number>();
  for (const id of ids) {
    let row = countBelow(devices, id); // the row before it may end with the device
    for (row = Math.max(0, row - 1); row < devices.length && (devices[row] as number) <= id; row += 1) rows.add(row);
  }
  return [...rows].sort((one, other) => one - other);
}

/** How many of sorted numbers are smaller than one. */
function countBelow(sorted: Uint32Array, number: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < number) low = middle + 1;
    else high = middle;
  }
  return low;
}
