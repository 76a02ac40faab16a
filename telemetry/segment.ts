/** The segment that is being written: appends batches, each one commit, and indexes them in runs. Reads nothing back. */

import type Database from 'better-sqlite3';
import { type Packed, STRIDE } from './packed.ts';
import { expectSound, openSegmentFile } from './segment-file.ts';

/** Messages per run: more make the commit that closes a run longer (about 2.5 ms at 2048), fewer make reading slower. */
const RUN_LENGTH = 2048;

/** Rows per statement: most of the cost of a short row is the call (a third less CPU at ten rows; measured). */
const BLOCK = 10;

/** Sources whose number is remembered; beyond that the table is asked. */
const MOST_KNOWN_SOURCES = 100_000;

const INSERT_BLOCK = `INSERT INTO messages (position, source, received_at, qos, payload)
  VALUES ${Array(BLOCK).fill('(?, ?, ?, ?, ?)').join(', ')}`;

const INSERT = `INSERT INTO messages
  (position, source, received_at, qos, payload, device_time, device_sequence, message_key, content_type)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;

const CLOSE_RUN = [
  `INSERT INTO runs (last_position, oldest_at, newest_at)
   SELECT @last, min(received_at), max(received_at) FROM messages WHERE position > @tail AND position <= @last`,
  `INSERT INTO run_messages (run, device, position, source, received_at)
   SELECT @last, s.device, m.position, m.source, m.received_at
   FROM messages AS m JOIN sources AS s ON s.id = m.source
   WHERE m.position > @tail AND m.position <= @last ORDER BY s.device, m.position`,
  `INSERT INTO newest (source, position)
   SELECT source, max(position) FROM run_messages WHERE run = @last GROUP BY source
   ON CONFLICT (source) DO UPDATE SET position = excluded.position`,
];

/** Says whether a device has sent a key before this segment began. */
export type KnowsKey = (device: string, key: string) => boolean;

export interface Appended {
  /** Position of the first message that was stored; the others follow it. */
  readonly first: number;
  /** Which of the batch were stored before, by their index. */
  readonly repeated: readonly number[];
}

interface Source {
  readonly id: number;
  readonly device: number;
}

export class Segment {
  readonly file: string;
  readonly firstPosition: number;
  readonly #database: Database.Database;
  readonly #knewKey: KnowsKey;
  readonly #insertBlock: Database.Statement;
  readonly #insert: Database.Statement;
  readonly #insertKey: Database.Statement;
  readonly #names: Readonly<Record<'findDevice' | 'addDevice' | 'findSource' | 'addSource', Database.Statement>>;
  readonly #closeRun: readonly Database.Statement[];
  readonly #writing: Database.Transaction<(batch: Packed) => number[]>;
  readonly #closing: Database.Transaction<() => void>;
  readonly #block: unknown[] = new Array(BLOCK * 5).fill(0);
  #sources = new Map<string, Map<string, Source>>();
  #knownSources = 0;
  /** Position of the newest message; one before the first in an empty segment. */
  #end: number;
  /** Position of the newest message that belongs to a run. */
  #tail: number;

  /** Throws as `openSegmentFile()` does, and whatever SQLite throws for a damaged page that is read here. */
  constructor(file: string, knewKey: KnowsKey) {
    const database = openSegmentFile(file);
    this.file = file;
    this.#database = database;
    this.#knewKey = knewKey;
    try {
      const number = (sql: string) => database.prepare(sql).pluck().get() as number | null;
      this.firstPosition = number('SELECT first_position FROM segment') as number;
      this.#tail = number('SELECT max(last_position) FROM runs') ?? this.firstPosition - 1;
      this.#end = number('SELECT max(position) FROM messages') ?? this.firstPosition - 1;
      this.#insertBlock = database.prepare(INSERT_BLOCK);
      this.#insert = database.prepare(INSERT);
      this.#insertKey = database.prepare('INSERT OR IGNORE INTO message_keys (device, key, position) VALUES (?, ?, ?)');
      this.#names = {
        findDevice: database.prepare('SELECT id FROM devices WHERE name = ?').pluck(),
        addDevice: database.prepare('INSERT INTO devices (name) VALUES (?)'),
        findSource: database.prepare('SELECT id FROM sources WHERE device = ? AND stream = ?').pluck(),
        addSource: database.prepare('INSERT INTO sources (device, stream) VALUES (?, ?)'),
      };
      this.#closeRun = CLOSE_RUN.map((sql) => database.prepare(sql));
      this.#writing = database.transaction((batch) => this.#write(batch));
      this.#closing = database.transaction(() => this.#indexTail(this.#end));
    } catch (error) {
      database.close();
      throw error;
    }
  }

  get end(): number {
    return this.#end;
  }

  /** Bytes of the database, without what its log adds. */
  get bytes(): number {
    const pragma = (name: string) => this.#database.pragma(name, { simple: true }) as number;
    return pragma('page_count') * pragma('page_size');
  }

  /** Reads the whole file. Throws Problem `database_damaged`, or what SQLite throws. */
  check(): void {
    expectSound(this.#database);
  }

  /** All of them or none; when this returns they are on disk. Throws what SQLite throws. */
  append(batch: Packed): Appended {
    const first = this.#end + 1;
    try {
      const repeated = this.#writing.immediate(batch);
      this.#end += batch.count - repeated.length;
      if (this.#end - this.#tail >= RUN_LENGTH) this.#tail = this.#end;
      return { first, repeated };
    } catch (error) {
      this.#forgetSources(); // their numbers were rolled back
      throw error;
    }
  }

  /** Indexes what no run holds yet, for a segment that gets no more messages. */
  complete(): void {
    if (this.#end === this.#tail) return;
    this.#closing.immediate();
    this.#tail = this.#end;
  }

  close(): void {
    this.#database.close();
  }

  /** Returns the indices of those that were stored before. Nothing of this object but its cache changes here. */
  #write(batch: Packed): number[] {
    const { count, numbers, names, extras, bytes } = batch;
    const repeated: number[] = [];
    const block = this.#block;
    let position = this.#end;
    let start = 0;
    let filled = 0;
    for (let i = 0; i < count; i += 1) {
      const at = i * STRIDE;
      const payload = Buffer.from(bytes.buffer, start, numbers[at + 3]);
      start += numbers[at + 3] as number;
      const source = this.#source(names[i * 2] as string, names[i * 2 + 1] as string);
      const key = extras?.[i * 2];
      if (key !== undefined && this.#isRepeated(source.device, names[i * 2] as string, key, position + 1)) {
        repeated.push(i);
        continue;
      }
      position += 1;
      block[filled] = position;
      block[filled + 1] = source.id;
      block[filled + 2] = numbers[at + 1];
      block[filled + 3] = numbers[at + 2];
      block[filled + 4] = payload;
      const isPlain = extras === undefined && Number.isNaN(numbers[at + 4]) && Number.isNaN(numbers[at + 5]);
      if (isPlain) {
        filled += 5;
        if (filled === block.length) {
          this.#insertBlock.run(...block);
          filled = 0;
        }
      } else {
        const sent = [numbers[at + 4], numbers[at + 5]].map((number) => (Number.isNaN(number) ? null : number));
        this.#insert.run(...block.slice(filled, filled + 5), ...sent, key ?? null, extras?.[i * 2 + 1] ?? null);
      }
    }
    for (let i = 0; i < filled; i += 5) this.#insert.run(...block.slice(i, i + 5), null, null, null, null);
    if (position - this.#tail >= RUN_LENGTH) this.#indexTail(position);
    return repeated;
  }

  #indexTail(last: number): void {
    for (const statement of this.#closeRun) {
      statement.run(statement.source.includes('@tail') ? { last, tail: this.#tail } : { last });
    }
  }

  #isRepeated(device: number, name: string, key: string, position: number): boolean {
    if (this.#knewKey(name, key)) return true;
    return this.#insertKey.run(device, key, position).changes === 0;
  }

  #source(device: string, stream: string): Source {
    const known = this.#sources.get(device)?.get(stream);
    if (known !== undefined) return known;
    const source = this.#findSource(device, stream);
    if (this.#knownSources >= MOST_KNOWN_SOURCES) this.#forgetSources();
    let streams = this.#sources.get(device);
    if (streams === undefined) {
      streams = new Map();
      this.#sources.set(device, streams);
    }
    streams.set(stream, source);
    this.#knownSources += 1;
    return source;
  }

  #findSource(name: string, stream: string): Source {
    const { findDevice, addDevice, findSource, addSource } = this.#names;
    const device = (findDevice.get(name) ?? addDevice.run(name).lastInsertRowid) as number;
    const id = (findSource.get(device, stream) ?? addSource.run(device, stream).lastInsertRowid) as number;
    return { id, device };
  }

  #forgetSources(): void {
    this.#sources = new Map();
    this.#knownSources = 0;
  }
}
