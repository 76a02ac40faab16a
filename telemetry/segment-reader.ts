/** Reads one segment, while another thread may be writing it. Each question sees one moment of the file. */

import Database from 'better-sqlite3';
import { ROW_COLUMNS, type Row } from './packed.ts';

/** Which messages. Times are milliseconds, `since` included, `until` excluded. */
export interface Wanted {
  readonly device: string | undefined;
  readonly stream: string | undefined;
  readonly since: number;
  readonly until: number;
}

const NAMES = 'CROSS JOIN sources AS s ON s.id = m.source CROSS JOIN devices AS d ON d.id = s.device';

const IS_WANTED = `(@device IS NULL OR s.device = @device) AND (@stream IS NULL OR s.stream = @stream)
  AND m.received_at >= @since AND m.received_at < @until`;

const TAIL = `SELECT ${ROW_COLUMNS} FROM messages AS m ${NAMES} WHERE m.position > @tail AND ${IS_WANTED}`;

// CROSS JOIN keeps this order of loops: run after run, and only the messages that are wanted.
const RUNS = `SELECT ${ROW_COLUMNS}
  FROM runs AS r
  CROSS JOIN run_messages AS i ON i.run = r.last_position AND i.device = @device
  CROSS JOIN messages AS m ON m.position = i.position ${NAMES}
  WHERE r.newest_at >= @since AND r.oldest_at < @until AND i.received_at >= @since AND i.received_at < @until
    AND (@stream IS NULL OR s.stream = @stream)`;

const IS_OF_DEVICE = '(@device IS NULL OR s.device = @device)';

/** Which messages are the newest of their sources; the newest may lie in an older segment. */
const NEWEST = `
  WITH candidates AS (
    SELECT source, position FROM newest
    UNION ALL
    SELECT source, max(position) FROM messages WHERE position > @tail GROUP BY source
  ), latest AS (
    SELECT source, max(position) AS position FROM candidates GROUP BY source
  )`;

const NEWEST_ROWS = `${NEWEST} SELECT ${ROW_COLUMNS}
  FROM latest CROSS JOIN messages AS m ON m.position = latest.position ${NAMES} WHERE ${IS_OF_DEVICE}`;

const NEWEST_BEFORE = `${NEWEST} SELECT latest.position
  FROM latest CROSS JOIN sources AS s ON s.id = latest.source WHERE latest.position < @first AND ${IS_OF_DEVICE}
  ORDER BY latest.position`;

const NEWEST_ROWS_OF_DEVICE = `
  WITH latest AS (
    SELECT max(coalesce((SELECT max(position) FROM messages WHERE position > @tail AND source = s.id), 0),
               coalesce((SELECT position FROM newest WHERE source = s.id), 0)) AS position
    FROM sources AS s WHERE s.device = @device
  ) SELECT`;

const OF_DEVICE = {
  rows: `${NEWEST_ROWS_OF_DEVICE} ${ROW_COLUMNS} FROM latest CROSS JOIN messages AS m ON m.position = latest.position ${NAMES}`,
  before: `${NEWEST_ROWS_OF_DEVICE} position FROM latest WHERE position < @first ORDER BY position`,
};

const OF_ALL = { rows: NEWEST_ROWS, before: NEWEST_BEFORE };

const AT = `SELECT ${ROW_COLUMNS} FROM messages AS m ${NAMES} WHERE m.position = ?`;

export interface Newest {
  /** Those in this segment. */
  readonly rows: readonly Row[];
  /** Positions of the others, in their order. */
  readonly before: readonly number[];
}

export class SegmentReader {
  readonly firstPosition: number;
  readonly #database: Database.Database;
  readonly #deviceId: Database.Statement;
  readonly #tail: Database.Statement;
  readonly #isIndexed: Database.Statement;
  readonly #at: Database.Statement;

  constructor(file: string) {
    const database = new Database(file, { readonly: true, fileMustExist: true });
    this.#database = database;
    this.#deviceId = database.prepare('SELECT id FROM devices WHERE name = ?').pluck();
    this.#tail = database.prepare('SELECT coalesce(max(last_position), 0) FROM runs').pluck();
    this.#isIndexed = database
      .prepare('SELECT 1 FROM sources AS s JOIN newest AS n ON n.source = s.id WHERE s.device = ? AND n.position >= ?')
      .pluck();
    this.#at = database.prepare(AT).raw();
    this.firstPosition = database.prepare('SELECT first_position FROM segment').pluck().get() as number;
  }

  /** Tells of the newest so many, newest first, until `visit` returns false. */
  newestFirst(wanted: Wanted, visit: (row: Row) => boolean): void {
    this.#visit(wanted, 'DESC', Number.MAX_SAFE_INTEGER, visit);
  }

  /** Tells of messages after a position, oldest first, until `visit` returns false. */
  oldestFirst(wanted: Wanted, after: number, visit: (row: Row) => boolean): void {
    this.#visit(wanted, 'ASC', after, visit);
  }

  /** The newest message of each source. */
  newest(device: string | undefined): Newest {
    return this.#atOneMoment((tail) => {
      const id = device === undefined ? null : (this.#deviceId.get(device) as number | undefined);
      if (id === undefined) return { rows: [], before: [] };
      const { rows, before } = id === null ? OF_ALL : OF_DEVICE;
      return {
        rows: this.#database.prepare(rows).raw().all({ tail, device: id }) as Row[],
        before: this.#database.prepare(before).pluck().all({ tail, device: id, first: this.firstPosition }) as number[],
      };
    });
  }

  /** Position of the newest message; one before the first in an empty segment. */
  end(): number {
    const newest = this.#database.prepare('SELECT max(position) FROM messages').pluck().get() as number | null;
    return newest ?? this.firstPosition - 1;
  }

  at(position: number): Row | undefined {
    return this.#at.get(position) as Row | undefined;
  }

  close(): void {
    this.#database.close();
  }

  #visit(
    { device, stream, since, until }: Wanted,
    order: 'ASC' | 'DESC',
    after: number,
    visit: (row: Row) => boolean,
  ): void {
    this.#atOneMoment((tail) => {
      const id = device === undefined ? null : (this.#deviceId.get(device) as number | undefined);
      if (id === undefined) return;
      const asked = { device: id, stream: stream ?? null, since, until };
      const isAscending = order === 'ASC';
      const beyond = isAscending ? after : 0;
      if (id === null) {
        const all = this.#database.prepare(`${TAIL} ORDER BY m.position ${order}`).raw();
        tell(all.iterate({ ...asked, tail: beyond }), visit);
        return;
      }
      const readTail = () => {
        const rows = this.#database.prepare(`${TAIL} ORDER BY m.position ${order}`).raw();
        return tell(rows.iterate({ ...asked, tail: Math.max(tail, beyond) }), visit);
      };
      const readRuns = () => {
        if (this.#isIndexed.get(id, this.firstPosition) === undefined) return true;
        const from = isAscending ? 'AND r.last_position > @after AND i.position > @after' : '';
        const rows = this.#database
          .prepare(`${RUNS} ${from} ORDER BY r.last_position ${order}, i.position ${order}`)
          .raw();
        return tell(rows.iterate(isAscending ? { ...asked, after } : asked), visit);
      };
      if (isAscending) readRuns() && readTail();
      else readTail() && readRuns();
    });
  }

  /** The writer may index its tail between two statements. */
  #atOneMoment<Value>(read: (tail: number) => Value): Value {
    return this.#database.transaction(() => read(this.#tail.get() as number))();
  }
}

/** Whether the visitor wants to see more. */
function tell(rows: IterableIterator<unknown>, visit: (row: Row) => boolean): boolean {
  for (const row of rows) if (!visit(row as Row)) return false;
  return true;
}
