/** One segment of the journal, an SQLite file: its tables, and how it is opened or made. Does not read or write messages. */

import { Problem } from '@rollcall/protocol';
import type Database from 'better-sqlite3';
import { createDatabaseFile, expectNotTruncated, type FileKind, openDatabaseFile } from '../database-file.ts';
import { COUNTED_KEYS_SCHEMA } from './counted-keys.ts';
import { NEWEST_PER_ROW, positionsOf } from './run-index.ts';

export const SEGMENT: FileKind = {
  name: 'a segment of a journal',
  applicationId: 0x5243746a, // "RCtj"
  schema: 3,
  busyTimeoutMs: 500,
  remedy: 'restore the file from a backup',
};

/** The oldest schema that is understood. Blocks of schema 3 may hold properties of MQTT 5; the tables are the same. */
const OLDEST_SCHEMA = 2;

/** A commit of a few messages writes one page, and a query reads one for each message. */
const PAGE_BYTES = 8192;

/** Size to which a write-ahead log that grew during a long read is truncated. */
const LOG_BYTES = 67_108_864;

/**
 * Messages are stored in the order of acceptance, in blocks (`block.ts`): a row for each would cost a third of all space. An index by device
 * over all of them would touch one page per message; so positions are indexed in runs (`run-index.ts`), each written once and
 * sorted. There are no foreign keys: each would cost a seek per row.
 */
const SCHEMA = `
  CREATE TABLE segment (
    first_position     INTEGER NOT NULL,
    -- Which devices' messages were removed (see retention.ts), and how many.
    forgotten          TEXT NOT NULL DEFAULT '',
    forgotten_messages INTEGER NOT NULL DEFAULT 0
  ) STRICT;

  CREATE TABLE devices (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
  ) STRICT;

  CREATE TABLE sources (
    id     INTEGER PRIMARY KEY,
    device INTEGER NOT NULL,
    stream TEXT NOT NULL,
    UNIQUE (device, stream)
  ) STRICT;

  -- By the position of its first message.
  CREATE TABLE blocks (
    position INTEGER PRIMARY KEY,
    checksum INTEGER NOT NULL,
    meta     BLOB NOT NULL,
    data     BLOB NOT NULL
  ) STRICT;

  CREATE TABLE runs (
    last_position  INTEGER PRIMARY KEY,
    first_position INTEGER NOT NULL,
    is_merged      INTEGER NOT NULL,
    oldest_at      INTEGER NOT NULL,
    newest_at      INTEGER NOT NULL,
    first_row      INTEGER NOT NULL,
    -- The first device of each of its rows.
    row_devices    BLOB NOT NULL
  ) STRICT;

  CREATE INDEX unmerged_runs ON runs (last_position) WHERE is_merged = 0;

  CREATE TABLE run_rows (
    id      INTEGER PRIMARY KEY,
    entries BLOB NOT NULL
  ) STRICT;

  -- The newest message of each source, as of the latest merged run; it may lie in an older segment.
  CREATE TABLE newest (
    id        INTEGER PRIMARY KEY,
    positions BLOB NOT NULL
  ) STRICT;

  -- Those that are no counted ones (counted-keys.ts).
  CREATE TABLE message_keys (
    device INTEGER NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (device, key)
  ) STRICT, WITHOUT ROWID;
${COUNTED_KEYS_SCHEMA}`;

/** Throws Problem `data_directory_unusable`, `database_damaged`, `database_older` or `database_newer`. */
export function openSegmentFile(file: string): Database.Database {
  return openDatabaseFile({
    file,
    kind: SEGMENT,
    check: 'header',
    prepare: (database) => {
      expectNotOlder(database);
      database.pragma(`journal_size_limit = ${LOG_BYTES}`);
      database.pragma('wal_checkpoint(TRUNCATE)');
      expectNotTruncated(database, SEGMENT); // only after the checkpoint is the file complete
      // What is appended from here on is of this schema; earlier versions must not read it. Closed segments stay as they are.
      if (schemaOf(database) !== SEGMENT.schema) database.pragma(`user_version = ${SEGMENT.schema}`);
    },
  });
}

export interface NewSegment {
  readonly firstPosition: number;
  /** The previous segment, and the first position that still exists. */
  readonly previous?: { readonly older: string; readonly oldestPosition: number };
}

/** Throws what SQLite and the file system throw, and leaves nothing behind then. */
export function createSegmentFile(file: string, { firstPosition, previous }: NewSegment): void {
  createDatabaseFile(file, SEGMENT, (database) => {
    database.pragma(`page_size = ${PAGE_BYTES}`);
    if (previous !== undefined) database.prepare('ATTACH ? AS older').run(previous.older);
    database.exec('BEGIN');
    database.exec(SCHEMA);
    database.prepare('INSERT INTO segment (first_position) VALUES (?)').run(firstPosition);
    if (previous !== undefined) inherit(database, previous.oldestPosition);
    database.pragma(`user_version = ${SEGMENT.schema}`);
    database.exec('COMMIT');
  });
}

/** Copies from the previous segment the devices, streams, and positions of their newest messages. */
function inherit(database: Database.Database, oldestPosition: number): void {
  const kept = new Map<number, Float64Array>();
  const rows = database.prepare('SELECT id, positions FROM older.newest').all() as {
    readonly id: number;
    readonly positions: Buffer;
  }[];
  const add = database.prepare('INSERT INTO newest (id, positions) VALUES (?, ?)');
  for (const { id, positions } of rows) {
    const row = positionsOf(positions).map((position) => (position >= oldestPosition ? position : 0));
    if (row.every((position) => position === 0)) continue;
    kept.set(id, row);
    add.run(id, Buffer.from(row.buffer));
  }
  database.function('is_kept', (source: unknown) => {
    const number = source as number;
    return (kept.get(Math.floor(number / NEWEST_PER_ROW))?.[number % NEWEST_PER_ROW] ?? 0) > 0 ? 1 : 0;
  });
  database.exec('INSERT INTO sources SELECT * FROM older.sources WHERE is_kept(id)');
  database.exec('INSERT INTO devices SELECT * FROM older.devices WHERE id IN (SELECT device FROM sources)');
}

/** Throws Problem `database_older`. */
export function expectNotOlder(database: Database.Database): void {
  const version = schemaOf(database);
  if (version >= OLDEST_SCHEMA) return;
  throw new Problem('database_older', {
    reason: `${database.name}: expected schema ${OLDEST_SCHEMA} or newer, found ${version}`,
    hint: 'export it with the version of Rollcall that wrote it, and move the telemetry directory away',
  });
}

function schemaOf(database: Database.Database): number {
  return database.pragma('user_version', { simple: true }) as number;
}
