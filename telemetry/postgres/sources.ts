/** Devices and their streams by number, the same for all nodes. Known ones are in memory. */

import { Problem } from '@rollcall/protocol';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { type JournalName, named } from './tables.ts';

export interface Source {
  readonly id: number;
  readonly device: string;
  readonly stream: string;
}

type SourceName = Pick<Source, 'device' | 'stream'>;

export interface Numbered<Message> {
  readonly message: Message;
  /** Number of its device and stream. */
  readonly source: number;
}

/** Bound of known sources; beyond it all are read again as they are needed. */
const MOST_KNOWN = 200_000;

export class Sources {
  readonly #database: PostgresDatabase;
  readonly #name: JournalName;
  #byName = new Map<string, Map<string, Source>>();
  #byId = new Map<number, Source>();

  constructor(database: PostgresDatabase, name: JournalName) {
    this.#database = database;
    this.#name = name;
  }

  /** Resolves when the numbers are stored. Throws Problem `unavailable` when one is not found again, and what the database throws. */
  async numbered<M extends SourceName>(messages: readonly M[]): Promise<readonly Numbered<M>[]> {
    await this.#number(messages);
    return messages.map((message) => {
      const source = this.#find(message);
      // Another server is the primary since it was stored.
      if (source === undefined) throw new Problem('unavailable', { reason: 'a source was stored and is not found' });
      return { message, source: source.id };
    });
  }

  #find({ device, stream }: SourceName): Source | undefined {
    return this.#byName.get(device)?.get(stream);
  }

  /** Numbers those that have none yet. */
  async #number(names: readonly SourceName[]): Promise<void> {
    let unknown = names.filter((name) => this.#find(name) === undefined);
    if (unknown.length === 0) return;
    if (this.#byId.size >= MOST_KNOWN) {
      this.#byId = new Map();
      this.#byName = new Map();
      unknown = [...names];
    }
    // In one order, so that two nodes that number the same ones at once do not wait for each other.
    const pairs = [...new Map(unknown.map((one) => [`${one.device}/${one.stream}`, one])).values()].sort((a, b) =>
      a.device === b.device ? compare(a.stream, b.stream) : compare(a.device, b.device),
    );
    const values = [pairs.map(({ device }) => device), pairs.map(({ stream }) => stream)];
    const found = await this.#select(values);
    if (found < pairs.length) {
      await this.#database.execute(
        named(
          `INSERT INTO NAME_sources (device, stream)
           SELECT n.device, n.stream FROM unnest($1::text[], $2::text[]) AS n (device, stream)
           WHERE NOT EXISTS (SELECT 1 FROM NAME_sources s WHERE s.device = n.device AND s.stream = n.stream)
           ON CONFLICT DO NOTHING`,
          this.#name,
        ),
        values,
      );
      await this.#select(values);
    }
  }

  /** Of some devices, or of all; of one stream, or of each. */
  async of(devices: readonly string[] | undefined, stream: string | undefined): Promise<readonly Source[]> {
    const conditions = ['true'];
    const values: unknown[] = [];
    if (devices !== undefined) conditions.push(`device = ANY($${values.push(devices)}::text[])`);
    if (stream !== undefined) conditions.push(`stream = $${values.push(stream)}`);
    const sql = `SELECT id, device, stream FROM NAME_sources WHERE ${conditions.join(' AND ')} ORDER BY device, stream`;
    return (await this.#database.query<Source>(named(sql, this.#name), values)).rows;
  }

  /** Those of these numbers. */
  async named(ids: Iterable<number>): Promise<ReadonlyMap<number, Source>> {
    const found = new Map<number, Source>();
    const unknown: number[] = [];
    for (const id of new Set(ids)) {
      const known = this.#byId.get(id);
      if (known === undefined) unknown.push(id);
      else found.set(id, known);
    }
    if (unknown.length === 0) return found;
    const sql = 'SELECT id, device, stream FROM NAME_sources WHERE id = ANY($1::int[])';
    const { rows } = await this.#database.query<Source>(named(sql, this.#name), [unknown]);
    for (const row of rows) {
      this.#know(row);
      found.set(row.id, row);
    }
    return found;
  }

  async #select(values: readonly unknown[]): Promise<number> {
    const sql = `SELECT s.id, s.device, s.stream FROM unnest($1::text[], $2::text[]) AS n (device, stream)
      JOIN NAME_sources AS s ON s.device = n.device AND s.stream = n.stream`;
    const { rows } = await this.#database.query<Source>(named(sql, this.#name), values);
    for (const row of rows) this.#know(row);
    return rows.length;
  }

  #know(source: Source): void {
    this.#byId.set(source.id, source);
    const streams = this.#byName.get(source.device);
    if (streams === undefined) this.#byName.set(source.device, new Map([[source.stream, source]]));
    else streams.set(source.stream, source);
  }
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
