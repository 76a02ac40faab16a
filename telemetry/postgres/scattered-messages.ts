/**
 * Reads messages that lie in many blocks. A block of which few are wanted is not read whole: first where its messages are, then their
 * bytes alone. The checksum of a block covers all of it, so it is verified only where all is read; the second step asks for the block with
 * the same checksum, and a block that retention changed in between is read whole.
 */

import type { Row } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { FoundMessage } from './block-reader.ts';
import { OpenBlock, type WholeBlock } from './open-block.ts';
import type { Source, Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

/** Blocks of so many bytes are read whole, and those of which so many messages are wanted: the server decompresses a block for each. */
const SMALL_BLOCK = 8192;
const MANY_WANTED = 8;

/** Of at most 1 MiB each. */
const WHOLE_AT_ONCE = 32;

interface MetaRow {
  readonly lane: number;
  readonly day: number;
  readonly first: number;
  readonly checksum: number;
  readonly bytes: number;
  readonly meta: Buffer;
}

interface WantedBlock {
  readonly found: FoundMessage[];
  readonly row: MetaRow;
  readonly block: OpenBlock;
}

export class ScatteredMessages {
  readonly #database: PostgresDatabase;
  readonly #name: JournalName;
  readonly #sources: Sources;

  constructor(database: PostgresDatabase, name: JournalName, sources: Sources) {
    this.#database = database;
    this.#name = name;
    this.#sources = sources;
  }

  /**
   * Those of the messages that are still there, in their order: the first of them, of so many bytes together, and one at least. Throws
   * Problem `database_damaged`.
   */
  async read(found: readonly FoundMessage[], mostBytes = Number.POSITIVE_INFINITY): Promise<Row[]> {
    const sources = await this.#sources.named(found.map(({ source }) => source));
    const rows = new Map<FoundMessage, Row>();
    const blocks = firstOf(await this.#open(found), found, mostBytes);
    const isWhole = ({ row, found: wanted }: WantedBlock) => row.bytes <= SMALL_BLOCK || wanted.length >= MANY_WANTED;
    const changed = await this.#readBytes(
      blocks.filter((one) => !isWhole(one)),
      sources,
      rows,
    );
    await this.#readWhole([...blocks.filter(isWhole), ...changed], sources, rows);
    return found.flatMap((one) => rows.get(one) ?? []);
  }

  async #open(found: readonly FoundMessage[]): Promise<readonly WantedBlock[]> {
    const byBlock = Map.groupBy(found, nameOf);
    const sql = `SELECT b.lane, b.day, b.first, b.checksum, octet_length(b.data) AS bytes, b.meta ${FROM_WANTED}`;
    const keys = [...byBlock.values()].map(([first]) => first as FoundMessage);
    const { rows } = await this.#database.query<MetaRow>(named(sql, this.#name), [...placesOf(keys), daysOf(keys)]);
    return rows.map((row) => ({ found: byBlock.get(nameOf(row)) ?? [], row, block: OpenBlock.ofMeta(row) }));
  }

  /** Returns blocks that have changed since they were opened. */
  async #readBytes(
    blocks: readonly WantedBlock[],
    sources: ReadonlyMap<number, Source>,
    rows: Map<FoundMessage, Row>,
  ): Promise<readonly WantedBlock[]> {
    const wanted = blocks.flatMap((of) => of.found.map((message) => ({ of, message })));
    if (wanted.length === 0) return [];
    const places = wanted.map(({ of, message }) => of.block.placeOf(message.index));
    const sql = `SELECT w.place, substring(b.data FROM w.start FOR w.length) AS bytes
      FROM unnest($1::int[], $2::bigint[], $3::int[], $4::bigint[], $5::int[], $6::int[], $7::int[])
        AS w (lane, first, day, checksum, place, start, length)
      JOIN NAME_blocks AS b ON b.lane = w.lane AND b.first = w.first AND b.day = w.day AND b.checksum = w.checksum
      WHERE b.day = ANY($8::int[])`;
    const found = await this.#database.query<{ readonly place: number; readonly bytes: Buffer }>(
      named(sql, this.#name),
      [
        ...placesOf(wanted.map(({ of }) => of.row)),
        wanted.map(({ of }) => of.row.checksum),
        places.map((_, place) => place),
        places.map(({ start }) => start + 1),
        places.map(({ length }) => length),
        daysOf(wanted.map(({ of }) => of.row)),
      ],
    );
    const left = new Set(wanted.map(({ of }) => of));
    for (const { place, bytes } of found.rows) {
      const { of, message } = wanted[place] as (typeof wanted)[number];
      left.delete(of);
      const row = of.block.row(message.index, sources, bytes);
      if (row !== undefined) rows.set(message, row);
    }
    return [...left];
  }

  async #readWhole(
    blocks: readonly WantedBlock[],
    sources: ReadonlyMap<number, Source>,
    rows: Map<FoundMessage, Row>,
  ): Promise<void> {
    if (blocks.length > WHOLE_AT_ONCE) {
      await this.#readWhole(blocks.slice(0, WHOLE_AT_ONCE), sources, rows);
      return this.#readWhole(blocks.slice(WHOLE_AT_ONCE), sources, rows);
    }
    if (blocks.length === 0) return;
    const byName = new Map(blocks.map((one) => [nameOf(one.row), one]));
    const sql = `SELECT b.lane, b.first, b.checksum, b.meta, b.data ${FROM_WANTED}`;
    const found = await this.#database.query<WholeBlock>(named(sql, this.#name), [
      ...placesOf(blocks.map(({ row }) => row)),
      daysOf(blocks.map(({ row }) => row)),
    ]);
    for (const whole of found.rows) {
      const block = OpenBlock.of(whole);
      for (const message of byName.get(nameOf(whole))?.found ?? []) {
        const row = block.row(message.index, sources);
        if (row !== undefined) rows.set(message, row);
      }
    }
  }
}

/** What of the blocks belongs to the first messages that the bytes allow. */
function firstOf(
  blocks: readonly WantedBlock[],
  found: readonly FoundMessage[],
  mostBytes: number,
): readonly WantedBlock[] {
  if (mostBytes === Number.POSITIVE_INFINITY) return blocks;
  const byName = new Map(blocks.map((one) => [nameOf(one.row), one]));
  const first = new Set<FoundMessage>();
  let bytes = 0;
  for (const one of found) {
    bytes += byName.get(nameOf(one))?.block.placeOf(one.index).length ?? 0;
    if (bytes > mostBytes && first.size > 0) break;
    first.add(one);
  }
  return blocks
    .map((one) => ({ ...one, found: one.found.filter((message) => first.has(message)) }))
    .filter((one) => one.found.length > 0);
}

const FROM_WANTED = `FROM unnest($1::int[], $2::bigint[], $3::int[]) AS w (lane, first, day)
  JOIN NAME_blocks AS b ON b.lane = w.lane AND b.first = w.first AND b.day = w.day
  WHERE b.day = ANY($4::int[])`;

interface Place {
  readonly lane: number;
  readonly first: number;
}

function nameOf({ lane, first }: Place): string {
  return `${lane} ${first}`;
}

function placesOf(places: readonly (Place & { readonly day: number })[]): unknown[] {
  return [places.map(({ lane }) => lane), places.map(({ first }) => first), places.map(({ day }) => day)];
}

/** Named apart, so that the planner leaves out the partitions of all other days. */
function daysOf(places: readonly { readonly day: number }[]): readonly number[] {
  return [...new Set(places.map(({ day }) => day))];
}
