/**
 * Which keys the devices of this node have sent, as far back as the day before. Counted keys (NUMBER.EPOCH) are bits in memory, written
 * for many messages at once; those behind the mark of a lane are read from its blocks when a device comes from another node. All other
 * keys are rows, stored with their block and looked up for each batch.
 */

import { type CountedKey, countedKey, lengthOf, sourceOf, splitBytes, wordsOf } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { LANE_ENDS } from './lane-ends.ts';
import type { Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

/** Numbers in a piece. */
const PIECE = 512;

/** Messages between two times that pieces are written: what another node reads from blocks. */
export const KEYS_WRITTEN_EVERY = 65_536;

/** Pieces in memory; beyond it those that are written are evicted. */
const MOST_PIECES = 262_144;

/** Keys that were read from the blocks of a lane; beyond it they are read again from its mark on. */
const MOST_TAIL_KEYS = 200_000;

const BLOCKS_AT_ONCE = 64;

interface Piece {
  readonly device: string;
  readonly epoch: string;
  readonly index: number;
  readonly bits: Buffer;
  /** Of the newest message in it. */
  day: number;
}

/** Keys of a batch that is not stored yet. */
export type AddedKeys = readonly { readonly piece: Piece; readonly number: number }[];

/** Keys in the blocks of a lane behind its mark, by device. */
interface LaneTail {
  through: number;
  /** Blocks of earlier days were left out. */
  since: number;
  size: number;
  readonly keys: Map<string, CountedKey[]>;
}

export interface MessageKeysOptions {
  readonly database: PostgresDatabase;
  readonly name: JournalName;
  readonly sources: Sources;
  readonly lane: number;
  readonly writtenEvery: number;
  /** Writing failed; it is repeated later. */
  failed(error: unknown): void;
}

export class MessageKeys {
  readonly #options: MessageKeysOptions;
  /** By device, then by index and epoch. */
  #pieces = new Map<string, Map<string, Piece>>();
  #count = 0;
  /** Devices all of whose pieces are in memory. */
  readonly #loaded = new Set<string>();
  readonly #tails = new Map<number, LaneTail>();
  #changed = new Set<Piece>();
  /** Of the batch that is being prepared. */
  #added: AddedKeys[number][] = [];
  #unwritten = 0;
  /** There are blocks of this lane whose keys are not in memory. */
  #hasGap = false;
  #writing: Promise<void> | undefined;

  constructor(options: MessageKeysOptions) {
    this.#options = options;
  }

  /** The device was somewhere else: what it sent there is read before its next message with a key is stored. */
  forget(device: string): void {
    this.#loaded.delete(device);
  }

  /**
   * Keys of these devices are known when it resolves, as far back as the day before this one. Returns the newest stamp of all lanes,
   * where it had to read any.
   */
  async load(devices: Iterable<string>, day: number): Promise<number> {
    const wanted = [...new Set(devices)].filter((device) => !this.#loaded.has(device));
    if (wanted.length === 0) return 0;
    const { database, name, lane } = this.#options;
    // The marks first: what is written meanwhile is read twice, and nothing is left out.
    const lanes = `WITH ${LANE_ENDS}
      SELECT m.lane AS id, e.newest, e.stamp, m.keyed FROM NAME_marks AS m JOIN ends AS e ON e.lane = m.lane`;
    const found = await database.query<{ id: number; newest: number; stamp: number; keyed: number }>(
      named(lanes, name),
    );
    const pieces =
      'SELECT device, epoch, piece AS index, bits FROM NAME_counted_keys WHERE device = ANY($1) AND day >= $2';
    const { rows } = await database.query<Omit<Piece, 'day'>>(named(pieces, name), [wanted, day - 1]);
    for (const { device, epoch, index, bits } of rows) {
      const piece = this.#pieceOf(device, epoch, index, day);
      for (let at = 0; at < bits.length; at += 1) piece.bits[at] = (piece.bits[at] as number) | (bits[at] as number);
    }
    for (const { id, newest, keyed } of found.rows) {
      const tail = await this.#tailOf(id, { newest, keyed, day });
      for (const device of wanted) {
        for (const { epoch, number } of tail.keys.get(device) ?? []) {
          const piece = this.#pieceOf(device, epoch, Math.floor(number / PIECE), day);
          if (!isSet(piece, number)) flip(piece, number);
          if (id === lane) this.#changed.add(piece);
        }
      }
    }
    for (const device of wanted) this.#loaded.add(device);
    return Math.max(0, ...found.rows.filter(({ id }) => id !== lane).map(({ stamp }) => stamp));
  }

  /** False for one that was sent before. */
  add(device: string, { epoch, number }: CountedKey, day: number): boolean {
    const piece = this.#pieceOf(device, epoch, Math.floor(number / PIECE), day);
    if (isSet(piece, number)) return false;
    flip(piece, number);
    piece.day = Math.max(piece.day, day);
    this.#changed.add(piece);
    this.#added.push({ piece, number });
    return true;
  }

  /** Those of these keys that were stored before, as `device/key`. */
  async findOthers(devices: readonly string[], keys: readonly string[], day: number): Promise<ReadonlySet<string>> {
    if (keys.length === 0) return new Set();
    const { database, name } = this.#options;
    const sql = `SELECT k.device, k.key FROM unnest($1::text[], $2::text[]) AS n (device, key)
      JOIN NAME_keys AS k ON k.device = n.device AND k.key = n.key WHERE k.day >= $3`;
    const { rows } = await database.query<{ device: string; key: string }>(named(sql, name), [devices, keys, day - 1]);
    return new Set(rows.map(({ device, key }) => `${device}/${key}`));
  }

  /** What was added since the last call. Until `stored()` it can be taken back. */
  takeAdded(): AddedKeys {
    const added = this.#added;
    this.#added = [];
    return added;
  }

  /** The lane is stored up to this message; `later`: keys of blocks that are on their way. */
  stored(newest: number, count: number, later: AddedKeys): void {
    const tail = this.#tails.get(this.#options.lane);
    if (tail !== undefined && !this.#hasGap) tail.through = newest;
    this.#unwritten += count;
    if (this.#unwritten >= this.#options.writtenEvery) this.#writing ??= this.#write(newest, later);
  }

  /** Nobody knows whether the blocks that begin there are stored: their devices are read again. */
  unknown(first: number, added: AddedKeys): void {
    for (const { piece, number } of added) {
      flip(piece, number);
      this.#loaded.delete(piece.device);
    }
    const tail = this.#tails.get(this.#options.lane);
    if (tail !== undefined) tail.through = Math.min(tail.through, first - 1);
    this.#hasGap = true;
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await this.#writing;
  }

  async #write(through: number, later: AddedKeys): Promise<void> {
    const { database, name, lane, failed } = this.#options;
    const pieces = [...this.#changed];
    // Copied before the next block adds to them, and without what is on its way: only what is stored is written.
    const bits = new Map(pieces.map((piece) => [piece, Buffer.from(piece.bits)]));
    const unstored = [...later, ...this.#added];
    for (const { piece, number } of unstored) {
      const copy = bits.get(piece);
      if (copy !== undefined) flip({ bits: copy }, number);
    }
    const values = [
      lane,
      pieces.map(({ device }) => device),
      pieces.map(({ epoch }) => epoch),
      pieces.map(({ index }) => index),
      pieces.map(({ day }) => day),
      [...bits.values()],
    ];
    this.#changed = new Set(unstored.map(({ piece }) => piece));
    this.#unwritten = 0;
    try {
      await database.transaction(async (transaction) => {
        await transaction.query(
          named(
            `INSERT INTO NAME_counted_keys (device, epoch, piece, lane, day, bits)
             SELECT k.device, k.epoch, k.piece, $1::int, k.day, k.bits
             FROM unnest($2::text[], $3::text[], $4::bigint[], $5::int[], $6::bytea[]) AS k (device, epoch, piece, day, bits)
             ON CONFLICT (device, epoch, piece, lane, day) DO UPDATE SET bits = excluded.bits`,
            name,
          ),
          values,
        );
        await transaction.query(named('UPDATE NAME_marks SET keyed = greatest(keyed, $2) WHERE lane = $1', name), [
          lane,
          through,
        ]);
      });
      if (this.#count > MOST_PIECES) this.#evict();
    } catch (error) {
      for (const piece of pieces) this.#changed.add(piece);
      failed(error);
    } finally {
      this.#writing = undefined;
    }
  }

  async #tailOf(
    lane: number,
    { newest, keyed, day }: { readonly newest: number; readonly keyed: number; readonly day: number },
  ): Promise<LaneTail> {
    let tail = this.#tails.get(lane);
    const since = day - 1;
    // Earlier: the clock of this node was days ahead, and is right again.
    if (tail === undefined || since < tail.since || (tail.size > MOST_TAIL_KEYS && tail.through < keyed)) {
      tail = { through: keyed, since, size: 0, keys: new Map() };
      this.#tails.set(lane, tail);
    }
    tail.since = since;
    const { database, name, sources } = this.#options;
    while (tail.through < newest) {
      const sql = `SELECT first, count, meta, data FROM NAME_blocks
        WHERE lane = $1 AND first > $2 AND first <= $3 AND day >= $4 ORDER BY first LIMIT ${BLOCKS_AT_ONCE}`;
      const { rows } = await database.query<{ first: number; count: number; meta: Buffer; data: Buffer }>(
        named(sql, name),
        [lane, tail.through, newest, since],
      );
      for (const { first, count, meta: bytes, data } of rows) {
        const meta = wordsOf(bytes);
        const found: { readonly source: number; readonly key: CountedKey }[] = [];
        for (let index = 0, start = 0; index < count; start += lengthOf(meta, index), index += 1) {
          const { key } = splitBytes(meta, index, data.subarray(start, start + lengthOf(meta, index))).extras;
          const counted = key === null ? undefined : countedKey(key);
          if (counted !== undefined) found.push({ source: sourceOf(meta, index), key: counted });
        }
        const known = await sources.named(found.map(({ source }) => source));
        for (const { source, key } of found) {
          const device = known.get(source)?.device ?? '';
          const keys = tail.keys.get(device);
          if (keys === undefined) tail.keys.set(device, [key]);
          else keys.push(key);
        }
        tail.size += found.length;
        tail.through = first + count - 1;
      }
      if (rows.length < BLOCKS_AT_ONCE) tail.through = newest;
    }
    if (lane === this.#options.lane) this.#hasGap = false;
    return tail;
  }

  #pieceOf(device: string, epoch: string, index: number, day: number): Piece {
    let pieces = this.#pieces.get(device);
    if (pieces === undefined) {
      pieces = new Map();
      this.#pieces.set(device, pieces);
    }
    const name = `${index}.${epoch}`;
    let piece = pieces.get(name);
    if (piece === undefined) {
      piece = { device, epoch, index, bits: Buffer.alloc(PIECE / 8), day };
      pieces.set(name, piece);
      this.#count += 1;
    }
    return piece;
  }

  #evict(): void {
    this.#pieces = new Map();
    this.#loaded.clear();
    this.#count = 0;
    for (const piece of this.#changed) {
      const pieces = this.#pieces.get(piece.device);
      const name = `${piece.index}.${piece.epoch}`;
      if (pieces === undefined) this.#pieces.set(piece.device, new Map([[name, piece]]));
      else pieces.set(name, piece);
      this.#count += 1;
    }
  }
}

function isSet({ bits }: Pick<Piece, 'bits'>, number: number): boolean {
  const bit = number % PIECE;
  return ((bits[bit >> 3] as number) & (1 << (bit & 7))) !== 0;
}

function flip({ bits }: Pick<Piece, 'bits'>, number: number): void {
  const bit = number % PIECE;
  bits[bit >> 3] = (bits[bit >> 3] as number) ^ (1 << (bit & 7));
}
