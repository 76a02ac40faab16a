/**
 * The journal: messages in the order of acceptance, appended in batches, each batch one commit. Knows the tables of
 * `journal-file.ts`; does not decide what makes a batch.
 */

import Database from 'better-sqlite3';
import type { DeviceId } from '../contract/identity.ts';
import { Problem } from '../contract/problem.ts';
import { openJournalFile } from './journal-file.ts';
import type { StoredMessage, TelemetryMessage, TelemetryQuery } from './telemetry.ts';

/** Messages per run: more make the commit that closes a run longer (about 2.5 ms at 2048), fewer make reading slower. */
const RUN_LENGTH = 2048;

const LONGEST_PAGE = 10_000;

const COLUMNS = 'm.position, m.device, m.stream, m.received_at AS receivedAt, m.qos, m.payload';

const INSERT = `INSERT INTO messages (position, device, stream, received_at, qos, payload) VALUES (?, ?, ?, ?, ?, ?)`;

const CLOSE_RUN = [
  `INSERT INTO runs (last_position, newest_at)
   SELECT @last, max(received_at) FROM messages WHERE position > @tail AND position <= @last`,
  `INSERT INTO run_messages (run, device, position, stream, received_at)
   SELECT @last, device, position, stream, received_at FROM messages
   WHERE position > @tail AND position <= @last ORDER BY device, position`,
  `INSERT INTO newest (device, stream, position)
   SELECT device, stream, max(position) FROM run_messages WHERE run = @last GROUP BY device, stream
   ON CONFLICT (device, stream) DO UPDATE SET position = excluded.position`,
];

const QUERY_TAIL = `
  SELECT ${COLUMNS} FROM messages AS m
  WHERE m.position > @tail AND m.device = @device AND m.received_at >= @since
    AND (@stream IS NULL OR m.stream = @stream)
  ORDER BY m.position DESC LIMIT @limit`;

// CROSS JOIN keeps this order of loops: newest run first, and only the messages that are wanted.
const QUERY_RUNS = `
  SELECT ${COLUMNS}
  FROM runs AS r
  CROSS JOIN run_messages AS i ON i.run = r.last_position AND i.device = @device
  CROSS JOIN messages AS m ON m.position = i.position
  WHERE r.newest_at >= @since AND i.received_at >= @since AND (@stream IS NULL OR i.stream = @stream)
  ORDER BY r.last_position DESC, i.position DESC LIMIT @limit`;

const LAST = `
  WITH candidates AS (
    SELECT device, stream, position FROM newest WHERE @device IS NULL OR device = @device
    UNION ALL
    SELECT device, stream, max(position) FROM messages
    WHERE position > @tail AND (@device IS NULL OR device = @device) GROUP BY device, stream
  ), latest AS (
    SELECT max(position) AS position FROM candidates GROUP BY device, stream
  )
  SELECT ${COLUMNS} FROM latest CROSS JOIN messages AS m ON m.position = latest.position
  ORDER BY m.device, m.stream`;

export class Journal {
  readonly #database: Database.Database;
  readonly #insert: Database.Statement;
  readonly #closeRun: readonly Database.Statement[];
  readonly #queryTail: Database.Statement;
  readonly #queryRuns: Database.Statement;
  readonly #last: Database.Statement;
  readonly #appending: Database.Transaction<(messages: readonly TelemetryMessage[]) => number>;
  /** Position of the newest message; 0 in an empty journal. */
  #end: number;
  /** Position of the newest message that belongs to a run. */
  #tail: number;

  constructor(directory: string) {
    const database = openJournalFile(directory);
    this.#database = database;
    this.#insert = database.prepare(INSERT);
    this.#closeRun = CLOSE_RUN.map((sql) => database.prepare(sql));
    this.#queryTail = database.prepare(QUERY_TAIL);
    this.#queryRuns = database.prepare(QUERY_RUNS);
    this.#last = database.prepare(LAST);
    const newest = (sql: string) => (database.prepare(sql).pluck().get() as number | null) ?? 0;
    this.#end = newest('SELECT max(position) FROM messages');
    this.#tail = newest('SELECT max(last_position) FROM runs');
    this.#appending = database.transaction((messages) => this.#write(messages));
  }

  /**
   * All of them or none; when this returns they are on disk. Returns the position of the first; the rest follow it.
   * Throws Problem `unavailable` when storage is full, busy or failing.
   */
  append(messages: readonly TelemetryMessage[]): number {
    const first = this.#end + 1;
    const last = first + messages.length - 1;
    try {
      this.#tail = this.#appending.immediate(messages);
    } catch (error) {
      throw storageProblem(error);
    }
    this.#end = last;
    return first;
  }

  /** Throws Problem `request_invalid` for a limit outside 1 to 10,000. */
  query(query: TelemetryQuery): readonly StoredMessage[] {
    const { limit } = query;
    if (!Number.isInteger(limit) || limit < 1 || limit > LONGEST_PAGE) {
      throw new Problem('request_invalid', {
        detail: `expected a limit of 1 to ${LONGEST_PAGE}, found ${Number(limit)}`,
      });
    }
    const wanted = {
      device: query.device,
      stream: query.stream ?? null,
      since: query.since ?? Number.MIN_SAFE_INTEGER,
      tail: this.#tail,
    };
    const found = this.#queryTail.all({ ...wanted, limit }) as StoredMessage[];
    if (found.length < limit) {
      found.push(...(this.#queryRuns.all({ ...wanted, limit: limit - found.length }) as StoredMessage[]));
    }
    return found.reverse();
  }

  last(device: DeviceId | undefined): readonly StoredMessage[] {
    return this.#last.all({ device: device ?? null, tail: this.#tail }) as StoredMessage[];
  }

  close(): void {
    this.#database.close();
  }

  /** Returns where the tail begins afterwards; nothing of this object changes before the commit. */
  #write(messages: readonly TelemetryMessage[]): number {
    let position = this.#end;
    for (const message of messages) {
      const { device, stream, receivedAt, qos, payload } = message;
      position += 1;
      this.#insert.run(position, device, stream, receivedAt, qos, asBuffer(payload));
    }
    if (position - this.#tail < RUN_LENGTH) return this.#tail;
    for (const statement of this.#closeRun) statement.run({ last: position, tail: this.#tail });
    return position;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function storageProblem(error: unknown): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  const passing = /^SQLITE_(FULL|BUSY|IOERR|READONLY|CANTOPEN|NOMEM)/.test(error.code);
  return new Problem(passing ? 'unavailable' : 'internal', { reason: `${error.code}: ${error.message}`, cause: error });
}
