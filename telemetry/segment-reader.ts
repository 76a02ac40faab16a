/** Reads one segment, while another thread may be writing it. Each question sees one moment of the file. */

import Database from 'better-sqlite3';
import type { StoredMessage } from './telemetry.ts';

/** Which messages. Times are milliseconds, `since` included, `until` excluded. */
export interface Wanted {
  readonly device: string | undefined;
  readonly stream: string | undefined;
  readonly since: number;
  readonly until: number;
}

/** A row of `COLUMNS`. */
interface Row {
  readonly position: number;
  readonly device: string;
  readonly stream: string;
  readonly receivedAt: number;
  readonly qos: 0 | 1 | 2;
  readonly payload: Buffer;
  readonly deviceTime: number | null;
  readonly deviceSequence: number | null;
  readonly key: string | null;
  readonly contentType: string | null;
}

const COLUMNS = `m.position, d.name AS device, s.stream, m.received_at AS receivedAt, m.qos, m.payload,
  m.device_time AS deviceTime, m.device_sequence AS deviceSequence, m.message_key AS key, m.content_type AS contentType`;

const NAMES = 'CROSS JOIN sources AS s ON s.id = m.source CROSS JOIN devices AS d ON d.id = s.device';

const IS_WANTED = `(@device IS NULL OR s.device = @device) AND (@stream IS NULL OR s.stream = @stream)
  AND m.received_at >= @since AND m.received_at < @until`;

const TAIL = `SELECT ${COLUMNS} FROM messages AS m ${NAMES} WHERE m.position > @tail AND ${IS_WANTED}`;

// CROSS JOIN keeps this order of loops: run after run, and only the messages that are wanted.
const RUNS = `SELECT ${COLUMNS}
  FROM runs AS r
  CROSS JOIN run_messages AS i ON i.run = r.last_position AND i.device = @device
  CROSS JOIN messages AS m ON m.position = i.position ${NAMES}
  WHERE r.newest_at >= @since AND r.oldest_at < @until AND i.received_at >= @since AND i.received_at < @until
    AND (@stream IS NULL OR s.stream = @stream)`;

const AT = `SELECT ${COLUMNS} FROM messages AS m ${NAMES} WHERE m.position = ?`;

const NEWEST = `
  WITH candidates AS (
    SELECT n.source, n.position FROM newest AS n
    UNION ALL
    SELECT m.source, max(m.position) FROM messages AS m WHERE m.position > @tail GROUP BY m.source
  )
  SELECT max(c.position) AS position, s.stream, d.name AS device
  FROM candidates AS c CROSS JOIN sources AS s ON s.id = c.source CROSS JOIN devices AS d ON d.id = s.device
  GROUP BY c.source`;

const NEWEST_OF_DEVICE = `
  SELECT max(coalesce((SELECT max(m.position) FROM messages AS m WHERE m.position > @tail AND m.source = s.id), 0),
             coalesce((SELECT n.position FROM newest AS n WHERE n.source = s.id), 0)) AS position, s.stream, d.name AS device
  FROM sources AS s JOIN devices AS d ON d.id = s.device WHERE s.device = @device`;

export interface Newest {
  readonly position: number;
  readonly device: string;
  readonly stream: string;
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
    this.#at = database.prepare(AT);
    this.firstPosition = database.prepare('SELECT first_position FROM segment').pluck().get() as number;
  }

  /** Tells of the newest so many, newest first, until `visit` returns false. */
  newestFirst(wanted: Wanted, visit: (message: StoredMessage) => boolean): void {
    this.#visit(wanted, 'DESC', Number.MAX_SAFE_INTEGER, visit);
  }

  /** Tells of messages after a position, oldest first, until `visit` returns false. */
  oldestFirst(wanted: Wanted, after: number, visit: (message: StoredMessage) => boolean): void {
    this.#visit(wanted, 'ASC', after, visit);
  }

  /** Where the newest message of each source lies: in this segment, or in one before it. */
  newest(device: string | undefined): Newest[] {
    return this.#atOneMoment((tail) => {
      if (device === undefined) return this.#database.prepare(NEWEST).all({ tail }) as Newest[];
      const id = this.#deviceId.get(device) as number | undefined;
      if (id === undefined) return [];
      return this.#database.prepare(NEWEST_OF_DEVICE).all({ tail, device: id }) as Newest[];
    });
  }

  /** Position of the newest message; one before the first in an empty segment. */
  end(): number {
    const newest = this.#database.prepare('SELECT max(position) FROM messages').pluck().get() as number | null;
    return newest ?? this.firstPosition - 1;
  }

  at(position: number): StoredMessage | undefined {
    const row = this.#at.get(position) as Row | undefined;
    return row && storedMessage(row);
  }

  close(): void {
    this.#database.close();
  }

  #visit(
    { device, stream, since, until }: Wanted,
    order: 'ASC' | 'DESC',
    after: number,
    visit: (message: StoredMessage) => boolean,
  ): void {
    this.#atOneMoment((tail) => {
      const id = device === undefined ? null : (this.#deviceId.get(device) as number | undefined);
      if (id === undefined) return;
      const asked = { device: id, stream: stream ?? null, since, until };
      const isAscending = order === 'ASC';
      const beyond = isAscending ? after : 0;
      if (id === null) {
        const all = this.#database.prepare(`${TAIL} ORDER BY m.position ${order}`);
        tell(all.iterate({ ...asked, tail: beyond }), visit);
        return;
      }
      const readTail = () => {
        const rows = this.#database.prepare(`${TAIL} ORDER BY m.position ${order}`);
        return tell(rows.iterate({ ...asked, tail: Math.max(tail, beyond) }), visit);
      };
      const readRuns = () => {
        if (this.#isIndexed.get(id, this.firstPosition) === undefined) return true;
        const from = isAscending ? 'AND r.last_position > @after AND i.position > @after' : '';
        const rows = this.#database.prepare(`${RUNS} ${from} ORDER BY r.last_position ${order}, i.position ${order}`);
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
function tell(rows: IterableIterator<unknown>, visit: (message: StoredMessage) => boolean): boolean {
  for (const row of rows) if (!visit(storedMessage(row as Row))) return false;
  return true;
}

function storedMessage(row: Row): StoredMessage {
  const { deviceTime, deviceSequence, key, contentType, ...rest } = row;
  return {
    ...(rest as unknown as StoredMessage),
    ...(deviceTime !== null && { deviceTime }),
    ...(deviceSequence !== null && { deviceSequence }),
    ...(key !== null && { key }),
    ...(contentType !== null && { contentType }),
  };
}
