/**
 * Writes batches of messages into the lane of this node, one after the other. A batch whose outcome is unknown is written again as it
 * was, until it is confirmed or its caller gives it up; its numbers are not given to others. Everything is refused once the lane is lost.
 */

import { Problem } from '@rollcall/protocol';
import { type Appended, countedKey, wordsOf } from '../../storage/index.ts';
import { type PostgresDatabase, sqlstateOf } from '../../storage/postgres/index.ts';
import type { TelemetryMessage } from '../telemetry.ts';
import { blockOf } from './block-writing.ts';
import { DAY_MS, type Days, dayNumber } from './days.ts';
import type { DeviceIndex } from './device-index.ts';
import { type BlockKeys, type Lane, LaneBlocks, LaneLost, type StoredBlock } from './lane.ts';
import type { MessageKeys } from './message-keys.ts';
import type { Source, Sources } from './sources.ts';
import type { JournalName } from './tables.ts';

type Message = TelemetryMessage<string>;

/** check_violation: no partition for the row. */
const NO_PARTITION = '23514';

export interface LaneWriterOptions {
  readonly database: PostgresDatabase;
  readonly name: JournalName;
  readonly lane: Lane;
  readonly days: Days;
  readonly sources: Sources;
  readonly keys: MessageKeys;
  readonly index: DeviceIndex;
  readonly now: () => number;
}

/** A batch that was sent, or is about to be. */
interface Pending {
  readonly messages: readonly Message[];
  readonly repeated: readonly number[];
  readonly block: StoredBlock | undefined;
  readonly otherKeys: BlockKeys;
}

export class LaneWriter {
  readonly #options: LaneWriterOptions;
  readonly #blocks: LaneBlocks;
  #pending: Pending | undefined;
  /** Of messages in the lane, stored or given up. */
  #newest: number;
  #newestStored = 0;
  #stamp: number;
  #day = 0;
  #isLost = false;

  constructor(options: LaneWriterOptions) {
    const { database, name, lane } = options;
    this.#options = options;
    this.#blocks = new LaneBlocks(database, name, lane);
    this.#newest = lane.newest;
    this.#stamp = lane.stamp;
  }

  /** Number of the newest message that was stored since the start; 0 before the first. */
  get newestStored(): number {
    return this.#newestStored;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** What is stored from now on comes after what other lanes have, which this node has read. */
  comesAfter(stamp: number): void {
    this.#stamp = Math.max(this.#stamp, stamp + 1);
  }

  /**
   * All of them or none. Rejects with Problem `unavailable` when the same array may be written later; with `LaneLost` when it is of no
   * use to try again. `first` is the number of the first message in the lane.
   */
  async write(messages: readonly Message[]): Promise<Appended> {
    if (this.#isLost) throw new LaneLost();
    if (this.#pending !== undefined && this.#pending.messages !== messages) this.#giveUp(this.#pending);
    this.#pending ??= await this.#prepare(messages);
    const { repeated, block, otherKeys } = this.#pending;
    if (block !== undefined) await this.#store(block, otherKeys);
    this.#pending = undefined;
    return { first: block?.first ?? this.#newest + 1, repeated };
  }

  async #prepare(messages: readonly Message[]): Promise<Pending> {
    const { days, sources, now } = this.#options;
    const day = this.#dayOf((messages[0] as Message).receivedAt);
    await days.prepare(day);
    await sources.number(messages);
    const { repeated, otherKeys } = await this.#findRepeated(messages, day);
    const again = new Set(repeated);
    const left = repeated.length === 0 ? messages : messages.filter((_, index) => !again.has(index));
    this.#day = day;
    if (left.length === 0) return { messages, repeated, block: undefined, otherKeys };
    this.#stamp = Math.max(this.#stamp, now());
    const found = left.map(({ device, stream }) => sources.find(device, stream) as Source);
    const block = blockOf(left, found, { day, first: this.#newest + 1, stamp: this.#stamp });
    return { messages, repeated, block, otherKeys };
  }

  /** A clock that steps back goes on with the day; one that was days ahead, and is right again, begins the right one. */
  #dayOf(time: number): number {
    const day = dayNumber(time);
    return day > this.#day || dayNumber(time + DAY_MS) < this.#day ? day : this.#day;
  }

  async #findRepeated(messages: readonly Message[], day: number) {
    const { keys } = this.#options;
    const repeated: number[] = [];
    const others: { readonly device: string; readonly key: string }[] = [];
    const counted: Message[] = [];
    for (const message of messages) {
      const { device, key } = message;
      if (key === undefined) continue;
      if (countedKey(key) === undefined) others.push({ device, key });
      else counted.push(message);
    }
    const otherKeys = { devices: [] as string[], keys: [] as string[] };
    if (others.length === 0 && counted.length === 0) return { repeated, otherKeys };
    const seen = await keys.load(
      counted.map(({ device }) => device),
      day,
    );
    if (seen > 0) this.comesAfter(seen);
    const known = new Set(
      await keys.findOthers(
        others.map(({ device }) => device),
        others.map(({ key }) => key),
        day,
      ),
    );
    for (const [index, { device, key }] of messages.entries()) {
      if (key === undefined) continue;
      const of = countedKey(key);
      const name = `${device}/${key}`;
      if (of === undefined ? known.has(name) : !keys.add(device, of, day)) repeated.push(index);
      else if (of === undefined) {
        known.add(name);
        otherKeys.devices.push(device);
        otherKeys.keys.push(key);
      }
    }
    return { repeated, otherKeys };
  }

  async #store(block: StoredBlock, otherKeys: BlockKeys): Promise<void> {
    const { days, keys, index } = this.#options;
    try {
      await this.#blocks.store(block, otherKeys).catch(async (error: unknown) => {
        if (sqlstateOf(error) !== NO_PARTITION) throw error;
        await days.prepare(block.day, 'again'); // retention removed the day
        await this.#blocks.store(block, otherKeys);
      });
    } catch (error) {
      this.#isLost ||= error instanceof LaneLost;
      // It has to be repeated: the caller holds the batch as it does while storage is full.
      if (error instanceof Problem && error.code === 'outcome_unknown') {
        throw new Problem('unavailable', { reason: error.reason ?? error.message, cause: error });
      }
      throw error;
    }
    this.#newest = block.first + block.count - 1;
    this.#newestStored = this.#newest;
    keys.stored(this.#newest, block.count);
    index.add({ ...block, meta: wordsOf(block.meta) });
  }

  #giveUp({ block }: Pending): void {
    this.#pending = undefined;
    if (block === undefined) return;
    this.#newest = block.first + block.count - 1;
    this.#options.keys.unknown(block.first);
  }
}
