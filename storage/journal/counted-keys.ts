/**
 * Which keys of the kind `NUMBER.EPOCH` the devices of one segment have sent: a bit for each number, in pieces of 512. A row for each
 * key would dirty a page per message; this way a message costs a bit in memory, since its key is in its block anyway. Pieces are
 * written now and then, in the transaction of a batch, and what came after that is read from the blocks when the segment is opened.
 */

import { Problem } from '@rollcall/protocol';
import type Database from 'better-sqlite3';
import { type Block, type BlockRow, lengthOf, readBlock, sourceOf, splitBytes } from './block.ts';

export const COUNTED_KEYS_SCHEMA = `
  CREATE TABLE IF NOT EXISTS counted_keys (
    device INTEGER NOT NULL,
    epoch  TEXT NOT NULL,
    piece  INTEGER NOT NULL,
    bits   BLOB NOT NULL,
    PRIMARY KEY (device, epoch, piece)
  ) STRICT, WITHOUT ROWID;

  -- One row: keys of messages behind this position are in their blocks only.
  CREATE TABLE IF NOT EXISTS counted_through (
    position INTEGER NOT NULL
  ) STRICT;
`;

export interface CountedKey {
  readonly epoch: string;
  readonly number: number;
}

/** Of a number of up to 15 digits without leading zeros, a dot, and at least one character; undefined for every other key. */
export function countedKey(key: string): CountedKey | undefined {
  const dot = key.indexOf('.');
  if (dot < 1 || dot > 15 || dot === key.length - 1 || (dot > 1 && key.charCodeAt(0) === ZERO)) return undefined;
  let number = 0;
  for (let at = 0; at < dot; at += 1) {
    const digit = key.charCodeAt(at) - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    number = number * 10 + digit;
  }
  return { epoch: key.slice(dot + 1), number };
}

const ZERO = 0x30;

/** Numbers in a piece. */
const PIECE = 512;

/** Messages between two times that pieces are written: what has to be read again when a segment is opened. */
const WRITTEN_EVERY = 16_384;

/** Bound of pieces in memory; beyond it those that are on disk are evicted. A device may need another piece with each message. */
const PIECES_MOST = 65_536;

interface Piece {
  readonly device: number;
  readonly epoch: string;
  readonly index: number;
  readonly bits: Uint8Array;
}

/** The pieces of one device, and the one used last, which is nearly always the next one too. */
interface DevicePieces {
  last: Piece;
  readonly all: Map<string, Piece>;
}

interface Added {
  readonly piece: Piece;
  readonly number: number;
}

export class CountedKeys {
  readonly #find: Database.Statement;
  readonly #database: Database.Database;
  #devices = new Map<number, DevicePieces>();
  #pieces = 0;
  /** Changed since they were written. */
  readonly #changed = new Set<Piece>();
  /** Since the last commit. */
  #added: Added[] = [];
  #through: number;
  #writtenThrough: number | undefined;

  /** Reads keys from the blocks after the last written piece. The database has the tables. */
  constructor(database: Database.Database) {
    this.#database = database;
    this.#find = database.prepare('SELECT bits FROM counted_keys WHERE device = ? AND epoch = ? AND piece = ?').pluck();
    this.#through = (database.prepare('SELECT position FROM counted_through').pluck().get() as number | undefined) ?? 0;
    this.#readOn();
    this.#added = [];
  }

  /** Pieces in memory. */
  get held(): number {
    return this.#pieces;
  }

  has(device: number, { epoch, number }: CountedKey): boolean {
    if (this.#pieces > PIECES_MOST) this.#evict();
    return isSet(this.#pieceOf(device, epoch, Math.floor(number / PIECE)), number);
  }

  /** False when it was there before. Until {@link committed} it can be taken back. */
  add(device: number, { epoch, number }: CountedKey): boolean {
    const piece = this.#pieceOf(device, epoch, Math.floor(number / PIECE));
    if (isSet(piece, number)) return false;
    flip(piece, number);
    this.#changed.add(piece);
    this.#added.push({ piece, number });
    return true;
  }

  /** For the end of a batch, in its transaction: writes pieces if it is time to. */
  writeIfDue(through: number): void {
    if (through - this.#through >= WRITTEN_EVERY) this.write(through);
  }

  /** In a transaction: from now on nothing up to this position has to be read again. */
  write(through: number): void {
    const put = this.#database.prepare('REPLACE INTO counted_keys (device, epoch, piece, bits) VALUES (?, ?, ?, ?)');
    for (const { device, epoch, index, bits } of this.#changed) put.run(device, epoch, index, bits);
    this.#database.prepare('DELETE FROM counted_through').run();
    this.#database.prepare('INSERT INTO counted_through (position) VALUES (?)').run(through);
    this.#writtenThrough = through;
  }

  /** The transaction was committed. */
  committed(): void {
    this.#added = [];
    if (this.#writtenThrough !== undefined) {
      this.#through = this.#writtenThrough;
      this.#writtenThrough = undefined;
      this.#changed.clear();
    }
    if (this.#pieces > PIECES_MOST) this.#evict();
  }

  /** It was rolled back. */
  rolledBack(): void {
    for (const { piece, number } of this.#added) flip(piece, number);
    this.#added = [];
    this.#writtenThrough = undefined;
    this.#evict(); // a device may get another number next time
  }

  #pieceOf(device: number, epoch: string, index: number): Piece {
    const pieces = this.#devices.get(device);
    if (pieces !== undefined && pieces.last.index === index && pieces.last.epoch === epoch) return pieces.last;
    const name = `${index}.${epoch}`;
    const piece = pieces?.all.get(name) ?? this.#read(device, epoch, index);
    if (pieces === undefined) this.#devices.set(device, { last: piece, all: new Map([[name, piece]]) });
    else {
      pieces.last = piece;
      pieces.all.set(name, piece);
    }
    return piece;
  }

  #read(device: number, epoch: string, index: number): Piece {
    const bits = this.#find.get(device, epoch, index) as Buffer | undefined;
    this.#pieces += 1;
    return { device, epoch, index, bits: bits === undefined ? new Uint8Array(PIECE / 8) : Uint8Array.from(bits) };
  }

  /** Evicts all pieces that are unchanged on disk. Must not be called between finding a piece and changing it. */
  #evict(): void {
    this.#devices = new Map();
    this.#pieces = this.#changed.size;
    for (const piece of this.#changed) {
      const pieces = this.#devices.get(piece.device);
      const name = `${piece.index}.${piece.epoch}`;
      if (pieces === undefined) this.#devices.set(piece.device, { last: piece, all: new Map([[name, piece]]) });
      else pieces.all.set(name, piece);
    }
  }

  #readOn(): void {
    const deviceOf = this.#database.prepare('SELECT device FROM sources WHERE id = ?').pluck();
    const rows = this.#database
      .prepare('SELECT position, checksum, meta, data FROM blocks WHERE position > ? ORDER BY position')
      .raw();
    for (const row of rows.iterate(this.#through) as IterableIterator<BlockRow>) {
      const block = soundBlock(row);
      if (block === undefined) continue;
      const { meta, data, count } = block;
      let start = 0;
      for (let i = 0; i < count; i += 1) {
        const end = start + lengthOf(meta, i);
        const source = sourceOf(meta, i);
        const { key } = splitBytes(meta, i, data.subarray(start, end)).extras;
        const counted = key === null || source === 0 ? undefined : countedKey(key);
        if (counted !== undefined) this.add(deviceOf.get(source) as number, counted);
        start = end;
      }
    }
  }
}

/** Undefined for one with other bytes than were written: its messages can't be read either, and readers say so. */
function soundBlock(row: BlockRow): Block | undefined {
  try {
    return readBlock(row);
  } catch (error) {
    if (error instanceof Problem && error.code === 'database_damaged') return undefined;
    throw error;
  }
}

function isSet({ bits }: Piece, number: number): boolean {
  const bit = number % PIECE;
  return ((bits[bit >> 3] as number) & (1 << (bit & 7))) !== 0;
}

function flip({ bits }: Piece, number: number): void {
  const bit = number % PIECE;
  bits[bit >> 3] = (bits[bit >> 3] as number) ^ (1 << (bit & 7));
}
