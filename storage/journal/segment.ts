/** The segment that is being written: appends batches, each one commit, and indexes them in runs. Reads nothing back. */

import type Database from 'better-sqlite3';
import { expectIntegrity } from '../database-file.ts';
import { type Batch, withoutMessages } from './batch.ts';
import { checksumOf, lengthOf, META_BYTES, setSource, sourceOf, timeOf, WORDS, wordsOf } from './block.ts';
import { COUNTED_KEYS_SCHEMA, CountedKeys, countedKey } from './counted-keys.ts';
import { RunIndex } from './run-index.ts';
import { openSegmentFile, SEGMENT } from './segment-file.ts';
import type { ReceivedNames } from './source-names.ts';

/** Messages per run. Every query scans the messages that are in no run yet. */
const RUN_LENGTH = 2048;

/** A block fills a page of the file. A larger message has a block of its own. */
const BLOCK_BYTES = 8000;

/** Whether a device has sent a key before this segment began. */
export type HasEarlierKey = (device: string, key: string) => boolean;

/** A batch, and the names that its numbers stand for: each sender numbers its own. */
export interface SentBatch {
  readonly batch: Batch;
  readonly names: ReceivedNames;
}

export interface Appended {
  /** Position of the first message that was stored; the others follow it. */
  readonly first: number;
  /** Which of the batch were stored before, by their index. */
  readonly repeated: readonly number[];
}

/** What the numbers of one sender's names stand for in this segment. */
interface KnownNames {
  readonly edition: number;
  /** By number of a name: its source, and the device of it. */
  readonly sources: number[];
  readonly devices: number[];
}

export class Segment {
  readonly file: string;
  readonly firstPosition: number;
  readonly #database: Database.Database;
  readonly #knewKey: HasEarlierKey;
  readonly #repeats: 'left out' | 'stored';
  readonly #index: RunIndex;
  readonly #counted: CountedKeys;
  readonly #insertBlock: Database.Statement;
  readonly #insertKey: Database.Statement;
  readonly #names: Readonly<Record<'findDevice' | 'addDevice' | 'findSource' | 'addSource', Database.Statement>>;
  readonly #writing: Database.Transaction<(sent: readonly SentBatch[]) => Appended[]>;
  readonly #completing: Database.Transaction<() => void>;
  #known = new WeakMap<ReceivedNames, KnownNames>();
  /** Messages that no run holds yet, and those that are being written behind them. */
  readonly #tail = { devices: [] as number[], sources: [] as number[], times: [] as number[] };
  #tailLength = 0;
  /** Position of the newest message; one before the first in an empty segment. */
  #end: number;

  /** Throws as `openSegmentFile()` does, and whatever SQLite throws for a damaged page that is read here. */
  constructor(file: string, knewKey: HasEarlierKey, repeats: 'left out' | 'stored' = 'left out') {
    const database = openSegmentFile(file);
    this.#repeats = repeats;
    this.file = file;
    this.#database = database;
    this.#knewKey = knewKey;
    try {
      const number = (sql: string) => database.prepare(sql).pluck().get() as number | null;
      this.firstPosition = number('SELECT first_position FROM segment') as number;
      this.#end = number('SELECT max(last_position) FROM runs') ?? this.firstPosition - 1;
      this.#index = new RunIndex(database, this.firstPosition);
      this.#insertBlock = database.prepare('INSERT INTO blocks (position, checksum, meta, data) VALUES (?, ?, ?, ?)');
      this.#insertKey = database.prepare('INSERT OR IGNORE INTO message_keys (device, key) VALUES (?, ?)');
      this.#names = {
        findDevice: database.prepare('SELECT id FROM devices WHERE name = ?').pluck(),
        addDevice: database.prepare('INSERT INTO devices (name) VALUES (?)'),
        findSource: database.prepare('SELECT id FROM sources WHERE device = ? AND stream = ?').pluck(),
        addSource: database.prepare('INSERT INTO sources (device, stream) VALUES (?, ?)'),
      };
      this.#writing = database.transaction((sent) => this.#writeAll(sent));
      this.#completing = database.transaction(() => this.#completeIndex());
      this.#readTail();
      database.exec(COUNTED_KEYS_SCHEMA); // for files from before there were any
      this.#counted = new CountedKeys(database);
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
    expectIntegrity(this.#database, SEGMENT);
  }

  /** All batches or none, in one commit; when this returns they are on disk. Throws what SQLite throws. */
  append(sent: readonly SentBatch[]): Appended[] {
    const [end, tailLength] = [this.#end, this.#tailLength];
    try {
      const appended = this.#writing.immediate(sent);
      this.#counted.committed();
      if (this.#tailLength >= RUN_LENGTH) this.#tailLength = 0;
      return appended;
    } catch (error) {
      this.#counted.rolledBack();
      this.#known = new WeakMap(); // their numbers were rolled back
      [this.#end, this.#tailLength] = [end, tailLength];
      throw error;
    }
  }

  /** Indexes what no run holds yet, for a segment that gets no more messages. */
  complete(): void {
    this.#completing.immediate();
    this.#counted.committed();
    this.#tailLength = 0;
    this.#database.pragma('wal_checkpoint(TRUNCATE)');
  }

  close(): void {
    this.#database.close();
  }

  #writeAll(sent: readonly SentBatch[]): Appended[] {
    const appended = sent.map((one) => this.#write(one));
    if (this.#tailLength >= RUN_LENGTH) this.#indexTail(this.#tailLength, this.#end);
    this.#counted.writeIfDue(this.#end);
    return appended;
  }

  #write({ batch: sent, names }: SentBatch): Appended {
    const known = this.#knownOf(names);
    const found = sent.keys === undefined ? [] : this.#repeatedOf(sent, names, known);
    const repeated = this.#repeats === 'stored' ? [] : found;
    const { count, meta: named, data } = withoutMessages(sent, repeated);
    const meta = named.slice();
    const tail = this.#tail;
    for (let i = 0; i < count; i += 1) {
      const name = sourceOf(named, i);
      let source = known.sources[name];
      if (source === undefined) source = this.#learn(name, names, known);
      setSource(meta, i, source);
      const at = this.#tailLength + i;
      tail.devices[at] = known.devices[name] as number;
      tail.sources[at] = source;
      tail.times[at] = timeOf(meta, i);
    }
    this.#writeBlocks(meta, data, count);
    const first = this.#end + 1;
    this.#end += count;
    this.#tailLength += count;
    return { first, repeated };
  }

  #writeBlocks(meta: Uint32Array<ArrayBuffer>, data: Uint8Array<ArrayBuffer>, count: number): void {
    let [first, firstByte, end, bytes] = [0, 0, 0, 0];
    const flush = (next: number) => {
      const metaBytes = Buffer.from(meta.buffer, first * META_BYTES, (next - first) * META_BYTES);
      const dataBytes = Buffer.from(data.buffer, data.byteOffset + firstByte, end - firstByte);
      this.#insertBlock.run(this.#end + 1 + first, checksumOf(metaBytes, dataBytes), metaBytes, dataBytes);
      [first, firstByte, bytes] = [next, end, 0];
    };
    for (let i = 0; i < count; i += 1) {
      const length = lengthOf(meta, i);
      if (i > first && bytes + length + META_BYTES > BLOCK_BYTES) flush(i);
      bytes += length + META_BYTES;
      end += length;
    }
    if (count > first) flush(count);
  }

  #indexTail(length: number, last: number): void {
    this.#index.addRun({ ...this.#tail, length, firstPosition: last - length + 1 });
  }

  #completeIndex(): void {
    if (this.#tailLength > 0) this.#indexTail(this.#tailLength, this.#end);
    this.#index.merge();
    this.#counted.write(this.#end);
  }

  /** After a restart: what came after the newest run. */
  #readTail(): void {
    const blocks = this.#database.prepare('SELECT meta FROM blocks WHERE position > ? ORDER BY position').pluck();
    const deviceOf = this.#database.prepare('SELECT device FROM sources WHERE id = ?').pluck();
    const tail = this.#tail;
    for (const bytes of blocks.all(this.#end) as Buffer[]) {
      const meta = wordsOf(bytes);
      for (let i = 0; i < meta.length / WORDS; i += 1) {
        tail.sources.push(sourceOf(meta, i));
        tail.devices.push(deviceOf.get(sourceOf(meta, i)) as number);
        tail.times.push(timeOf(meta, i));
      }
    }
    this.#tailLength = tail.sources.length;
    this.#end += this.#tailLength;
  }

  #repeatedOf({ count, meta, keys }: Batch, names: ReceivedNames, known: KnownNames): number[] {
    const repeated: number[] = [];
    for (let i = 0; i < count; i += 1) {
      const key = keys?.[i];
      if (key === undefined) continue;
      const name = sourceOf(meta, i);
      if (known.sources[name] === undefined) this.#learn(name, names, known);
      if (this.#knewKey(names.device(name), key) || !this.#addKey(known.devices[name] as number, key)) repeated.push(i);
    }
    return repeated;
  }

  /** False when it was there before. */
  #addKey(device: number, key: string): boolean {
    const counted = countedKey(key);
    if (counted !== undefined) return this.#counted.add(device, counted);
    return this.#insertKey.run(device, key).changes > 0;
  }

  #learn(name: number, names: ReceivedNames, known: KnownNames): number {
    const { findDevice, addDevice, findSource, addSource } = this.#names;
    const [text, stream] = [names.device(name), names.stream(name)];
    const device = (findDevice.get(text) ?? addDevice.run(text).lastInsertRowid) as number;
    const source = (findSource.get(device, stream) ?? addSource.run(device, stream).lastInsertRowid) as number;
    known.sources[name] = source;
    known.devices[name] = device;
    return source;
  }

  #knownOf(names: ReceivedNames): KnownNames {
    let known = this.#known.get(names);
    if (known?.edition !== names.edition) {
      known = { edition: names.edition, sources: [], devices: [] };
      this.#known.set(names, known);
    }
    return known;
  }
}
