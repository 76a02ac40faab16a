/**
 * Writes the journal of a data directory into a store that several nodes share: as lane 0, with the positions that its messages had, so
 * that cursors of readers stay what they are. What was written before a copy was interrupted is not written again.
 */

import { randomUUID } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { countedKey, wordsOf } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { blockOf } from '../postgres/block-writing.ts';
import { Days, dayNumber } from '../postgres/days.ts';
import { DeviceIndex, RUN_LENGTH } from '../postgres/device-index.ts';
import { type Lane, LaneBlocks, leaseLane } from '../postgres/lane.ts';
import { KEYS_WRITTEN_EVERY, MessageKeys } from '../postgres/message-keys.ts';
import { Sources } from '../postgres/sources.ts';
import { type JournalName, named, prepareTables } from '../postgres/tables.ts';
import type { CopiedMessage, CopiedPages } from './copied-message.ts';

/** What wrote lane 0. No node has this name, so that each has a lane of its own. */
const DATA_DIRECTORY = 'file:';

const NO_KEYS = { devices: [], keys: [] };

/** Throws what the database throws. */
export async function hasLanes(database: PostgresDatabase, name: JournalName): Promise<boolean> {
  await prepareTables(database, name);
  const { count } = await database.query(named('SELECT 1 FROM NAME_lanes WHERE node <> $1 LIMIT 1', name), [
    DATA_DIRECTORY,
  ]);
  return count > 0;
}

export class LaneTarget {
  readonly #database: PostgresDatabase;
  readonly #name: JournalName;
  readonly #lane: Lane;
  readonly #blocks: LaneBlocks;
  readonly #days: Days;
  readonly #sources: Sources;
  readonly #index: DeviceIndex;
  #newest: number;
  #stamp: number;
  #day = 0;
  #failure: unknown;

  /** Throws Problem `store_not_empty` when a node has lane 0, and what the database throws. */
  static async open(database: PostgresDatabase, name: JournalName): Promise<LaneTarget> {
    await prepareTables(database, name);
    const lane = await leaseLane(database, name, { node: DATA_DIRECTORY, holder: randomUUID() });
    if (lane.id !== 0) throw new Problem('store_not_empty', { reason: `a node has written into ${name}` });
    const target = new LaneTarget(database, name, lane);
    await target.#index.open();
    return target;
  }

  private constructor(database: PostgresDatabase, name: JournalName, lane: Lane) {
    this.#database = database;
    this.#name = name;
    this.#lane = lane;
    this.#blocks = new LaneBlocks(database, name, lane.id);
    this.#days = new Days(database, name);
    this.#sources = new Sources(database, name);
    const failed = (error: unknown) => {
      this.#failure ??= error;
    };
    const parts = { database, name, sources: this.#sources, lane: lane.id, failed };
    this.#index = new DeviceIndex({ ...parts, runLength: RUN_LENGTH });
    this.#newest = lane.newest;
    this.#stamp = lane.stamp;
  }

  /** The position of the newest message that is stored; 0 before the first. */
  get newest(): number {
    return this.#newest;
  }

  /** Stores messages behind the newest one. */
  async write(messages: readonly CopiedMessage[]): Promise<void> {
    for (const block of this.#blocksOf(messages)) await this.#store(block);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Keys that devices may repeat: after a restart of the fleet they are found as if their messages were of today. */
  async writeKeys(pages: CopiedPages, now: number): Promise<void> {
    const database = this.#database;
    const day = Math.max(this.#day, dayNumber(now));
    await this.#days.prepare(day);
    const failed = (error: unknown) => {
      this.#failure ??= error;
    };
    const keys = new MessageKeys({
      ...{ database, name: this.#name, sources: this.#sources, lane: this.#lane.id, failed },
      writtenEvery: KEYS_WRITTEN_EVERY,
    });
    await database.execute(named('UPDATE NAME_marks SET keyed = $2 WHERE lane = $1', this.#name), [
      this.#lane.id,
      this.#newest,
    ]);
    for await (const page of pages) {
      const counted = page.filter(({ key }) => key !== undefined && countedKey(key) !== undefined);
      await keys.load(
        counted.map(({ device }) => device),
        day,
      );
      for (const { device, key = '' } of counted) {
        const of = countedKey(key);
        if (of !== undefined) keys.add(device, of, day);
      }
      keys.takeAdded();
      const others = page.filter(({ key }) => key !== undefined && countedKey(key) === undefined);
      if (others.length > 0) {
        await database.execute(named(INSERT_KEYS, this.#name), [
          others.map(({ device }) => device),
          others.map(({ key }) => key),
          day,
        ]);
      }
      await keys.close(); // One write at a time.
      keys.stored(this.#newest, page.length, []);
    }
    await keys.close();
    keys.stored(this.#newest, KEYS_WRITTEN_EVERY, []);
    await keys.close();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Writes what is left of the index: no node adds to this lane. */
  async close(): Promise<void> {
    await this.#index.flush();
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #store(messages: readonly CopiedMessage[]): Promise<void> {
    const [{ position: first, receivedAt } = { position: 0, receivedAt: 0 }] = messages;
    this.#day = Math.max(this.#day, dayNumber(receivedAt));
    const day = this.#day;
    await this.#days.prepare(day);
    const numbered = await this.#sources.numbered(messages);
    for (const one of messages) this.#stamp = Math.max(this.#stamp, Math.trunc(one.receivedAt));
    const block = blockOf(numbered, { day, first, stamp: this.#stamp });
    // What is before it was stored, or is left out.
    await this.#blocks.store(block, NO_KEYS, { epoch: this.#lane.epoch, slot: 0, settled: first - 1 });
    this.#newest = first + block.count - 1;
    this.#index.add({ ...block, meta: wordsOf(block.meta) });
    await this.#index.close(); // A run that is written holds its messages in memory.
  }

  /** Parts whose positions follow one another, each of one day. */
  *#blocksOf(messages: readonly CopiedMessage[]): Generator<readonly CopiedMessage[]> {
    let begin = 0;
    for (let end = 1; end <= messages.length; end += 1) {
      const [before, next] = [messages[end - 1] as CopiedMessage, messages[end]];
      const isNext = next?.position === before.position + 1;
      if (next !== undefined && isNext && dayNumber(next.receivedAt) <= dayNumber(before.receivedAt)) continue;
      yield messages.slice(begin, end);
      begin = end;
    }
  }
}

const INSERT_KEYS = `INSERT INTO NAME_keys (device, key, day)
  SELECT k.device, k.key, $3::int FROM unnest($1::text[], $2::text[]) AS k (device, key) ON CONFLICT DO NOTHING`;
