/**
 * Messages of reserved classes, stored beyond the journal's retention: copied here before the journal removes them, with their
 * positions, each class within its own bound on bytes. One SQLite file beside the journal, written on the event loop in few
 * transactions: such messages are rare.
 */

import type Database from 'better-sqlite3';
import { type FileKind, inspectDatabaseFile, openDatabaseFile } from '../../storage/index.ts';
import { positionNumber, positionOf } from '../position.ts';
import type { StoredMessage, TelemetryRange } from '../telemetry.ts';

export interface ReservedClasses {
  readonly names: readonly string[];
  /** By the stream of a message; undefined for one that is not reserved. */
  of(stream: string): string | undefined;
}

export interface ReservedBounds {
  readonly classes: ReservedClasses;
  /** Bytes of each class; the oldest are removed. */
  readonly bytesPerClass: number;
  /** The age at which events are removed, in ms; 0: never. */
  readonly age: number;
}

const KIND: FileKind = {
  name: 'a file of reserved events',
  applicationId: 0x52437265, // "RCre"
  schema: 1,
  busyTimeoutMs: 500,
  remedy: 'restore it from a backup, or move it away: then old events of operators and certificates are lost',
};

const SCHEMA = `
  CREATE TABLE looked_at (position INTEGER NOT NULL) STRICT;
  INSERT INTO looked_at VALUES (0);

  CREATE TABLE events (
    position     INTEGER PRIMARY KEY,
    class        TEXT NOT NULL,
    device       TEXT NOT NULL,
    stream       TEXT NOT NULL,
    received_at  INTEGER NOT NULL,
    qos          INTEGER NOT NULL,
    key          TEXT,
    content_type TEXT,
    payload      BLOB NOT NULL
  ) STRICT;

  CREATE INDEX events_by_class ON events (class, position);
`;

/** Bytes that are counted for each event beside its payload. */
const OVERHEAD = 120;
const WEIGHT = `length(payload) + ${OVERHEAD}`;

const PAGE = 500;
const REMOVED_AT_ONCE = 100;

interface EventRow {
  readonly position: number;
  readonly device: string;
  readonly stream: string;
  readonly received_at: number;
  readonly qos: 0 | 1 | 2;
  readonly key: string | null;
  readonly content_type: string | null;
  readonly payload: Buffer;
}

/** Name of the file beside the segments of the journal. */
export const RESERVED_FILE = 'reserved.db';

/** Throws the errors of opening this file, and changes nothing. */
export function inspectReserve(file: string): void {
  inspectDatabaseFile({ file, kind: KIND, check: 'header' });
}

export class ReservedMessages {
  readonly #database: Database.Database;
  readonly #bounds: ReservedBounds;
  readonly #bytes: Map<string, number>;
  readonly #writing: Database.Transaction<
    (events: readonly StoredMessage<string>[], lookedAt: number, now: number) => void
  >;
  #lookedAt: number;

  /** Creates the file when there is none. Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
  constructor(file: string, bounds: ReservedBounds) {
    const create = (database: Database.Database) => {
      database.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${KIND.schema}; COMMIT`);
    };
    this.#bounds = bounds;
    this.#database = openDatabaseFile({ file, kind: KIND, check: 'header', create });
    this.#lookedAt = this.#database.prepare('SELECT position FROM looked_at').pluck().get() as number;
    const bytesOf = this.#database.prepare(`SELECT coalesce(sum(${WEIGHT}), 0) FROM events WHERE class = ?`).pluck();
    this.#bytes = new Map(bounds.classes.names.map((one) => [one, bytesOf.get(one) as number]));
    this.#writing = this.#database.transaction((events, lookedAt, now) => this.#write(events, lookedAt, now));
  }

  /** All positions up to this one have been read. */
  get readThrough(): number {
    return this.#lookedAt;
  }

  bytes(of: string): number {
    return this.#bytes.get(of) ?? 0;
  }

  /** Stores events and removes those beyond the bounds; durable when it returns. Throws errors of SQLite. */
  add(events: readonly StoredMessage<string>[], lookedAt: number, now: number): void {
    const before = new Map(this.#bytes);
    try {
      this.#writing.immediate(events, lookedAt, now);
      this.#lookedAt = Math.max(this.#lookedAt, lookedAt);
    } catch (error) {
      for (const [of, bytes] of before) this.#bytes.set(of, bytes); // it was rolled back
      throw error;
    }
  }

  /** Events after a position and up to another, oldest first. No page spans a position that is not in the reserve. */
  *pages(range: TelemetryRange<string>, after: number, upTo: number): Generator<readonly StoredMessage<string>[]> {
    const devices = range.device === undefined ? range.devices : [range.device];
    const conditions = ['position > @after', 'position <= @upTo'];
    if (devices !== undefined) conditions.push('device IN (SELECT value FROM json_each(@devices))');
    if (range.stream !== undefined) conditions.push('stream = @stream');
    if (range.since !== undefined) conditions.push('received_at >= @since');
    if (range.until !== undefined) conditions.push('received_at < @until');
    const sql = `SELECT * FROM events WHERE ${conditions.join(' AND ')} ORDER BY position LIMIT ${PAGE}`;
    const select = this.#database.prepare(sql);
    const { stream, since, until } = range;
    const values = { upTo, devices: JSON.stringify(devices ?? []), stream, since, until };
    for (let from = after; ; ) {
      const rows = select.all({ ...values, after: from }) as EventRow[];
      let page: StoredMessage<string>[] = [];
      for (const row of rows) {
        const isNext =
          page.length === 0 || positionNumber((page.at(-1) as StoredMessage<string>).position) === row.position - 1;
        if (!isNext) {
          yield page;
          page = [];
        }
        page.push(messageOf(row));
        from = row.position;
      }
      if (page.length > 0) yield page;
      if (rows.length < PAGE) return;
    }
  }

  close(): void {
    this.#database.close();
  }

  #write(events: readonly StoredMessage<string>[], lookedAt: number, now: number): void {
    const insert = this.#database.prepare('INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
    const { classes, age, bytesPerClass } = this.#bounds;
    for (const { position, device, stream, receivedAt, qos, key, contentType, payload } of events) {
      const of = classes.of(stream);
      if (of === undefined) continue;
      const values = [
        positionNumber(position),
        of,
        device,
        stream,
        receivedAt,
        qos,
        key ?? null,
        contentType ?? null,
        payload,
      ];
      if (insert.run(...values).changes > 0) this.#count(of, payload.length + OVERHEAD);
    }
    this.#database.prepare('UPDATE looked_at SET position = max(position, ?)').run(lookedAt);
    if (age > 0) this.#remove('received_at < ?', now - age);
    for (const of of classes.names) {
      const oldest = 'position IN (SELECT position FROM events WHERE class = ? ORDER BY position LIMIT ?)';
      while (this.bytes(of) > bytesPerClass && this.#remove(oldest, of, REMOVED_AT_ONCE) > 0);
    }
  }

  #remove(condition: string, ...values: readonly (string | number)[]): number {
    const removed = this.#database
      .prepare(`DELETE FROM events WHERE ${condition} RETURNING class, ${WEIGHT} AS bytes`)
      .all(...values) as { readonly class: string; readonly bytes: number }[];
    for (const { class: of, bytes } of removed) this.#count(of, -bytes);
    return removed.length;
  }

  #count(of: string, bytes: number): void {
    this.#bytes.set(of, this.bytes(of) + bytes);
  }
}

function messageOf({
  position,
  device,
  stream,
  received_at,
  qos,
  key,
  content_type,
  payload,
}: EventRow): StoredMessage<string> {
  return {
    position: positionOf(position),
    device,
    stream,
    receivedAt: received_at,
    qos,
    payload,
    ...(key !== null && { key }),
    ...(content_type !== null && { contentType: content_type }),
  };
}
