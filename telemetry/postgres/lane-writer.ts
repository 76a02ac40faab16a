/**
 * Writes batches of messages into the lane of this node, several at once. They are numbered in the order of the calls, and reported in it:
 * one that is stored waits for those before it. A batch whose outcome is unknown is written again as it was, until it is confirmed or its
 * caller gives it up, and all after it; the lane is then leased again before anything else is stored. Everything is refused once the lane is
 * lost.
 */

import { Problem } from '@rollcall/protocol';
import { type Appended, countedKey, wordsOf } from '../../storage/index.ts';
import { type PostgresDatabase, sqlstateOf } from '../../storage/postgres/index.ts';
import type { TelemetryMessage } from '../telemetry.ts';
import { blockOf } from './block-writing.ts';
import { DAY_MS, type Days, dayNumber } from './days.ts';
import type { DeviceIndex } from './device-index.ts';
import { type BlockKeys, type Lane, LaneBlocks, LaneLost, leaseAgain, type StoredBlock } from './lane.ts';
import { SLOTS } from './lane-ends.ts';
import type { AddedKeys, MessageKeys } from './message-keys.ts';
import type { Sources } from './sources.ts';
import type { JournalName } from './tables.ts';

type Message = TelemetryMessage<string>;

/** check_violation: no partition for the row. */
const NO_PARTITION = '23514';

export interface LaneWriterOptions {
  readonly database: PostgresDatabase;
  readonly name: JournalName;
  readonly lane: Lane;
  /** Of the lease (`leaseLane`). */
  readonly holder: string;
  readonly days: Days;
  readonly sources: Sources;
  readonly keys: MessageKeys;
  readonly index: DeviceIndex;
  readonly now: () => number;
  /** A batch is stored, and so are all before it. Called in their order. */
  settled(messages: readonly Message[], appended: Appended): void;
}

/** What a batch became. */
interface Prepared {
  readonly repeated: readonly number[];
  readonly block: StoredBlock | undefined;
  readonly slot: number;
  readonly otherKeys: BlockKeys;
  readonly added: AddedKeys;
}

/** A batch that is not reported yet. */
interface Batch {
  readonly messages: readonly Message[];
  prepared: Prepared | undefined;
  isStored: boolean;
  readonly settled: PromiseWithResolvers<Appended>;
}

export class LaneWriter {
  readonly #options: LaneWriterOptions;
  readonly #blocks: LaneBlocks;
  /** In the order of the calls. */
  #batches: Batch[] = [];
  /** Batches are prepared one after the other. */
  #preparing: Promise<unknown> = Promise.resolve();
  readonly #slots: number[] = [];
  #epoch: number;
  /** Of messages in the lane, stored or on their way. */
  #newest: number;
  /** The lane is complete up to here. */
  #settled: number;
  #newestStored = 0;
  #stamp: number;
  #day = 0;
  #isLost = false;
  /** Batches were given up: the lane has to be leased again. */
  #isInDoubt = false;

  constructor(options: LaneWriterOptions) {
    const { database, name, lane } = options;
    this.#options = options;
    this.#blocks = new LaneBlocks(database, name, lane.id);
    this.#epoch = lane.epoch;
    this.#newest = lane.newest;
    this.#settled = lane.newest;
    this.#stamp = lane.stamp;
    this.#freeSlots();
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
   * All of them or none, after those of earlier calls; at most `SLOTS` arrays at once. Rejects with Problem `unavailable` when the same
   * array may be written later; with `LaneLost` when it is of no use to try again.
   */
  async write(messages: readonly Message[]): Promise<Appended> {
    if (this.#isLost) throw new LaneLost();
    let batch = this.#batches.find((one) => one.messages === messages);
    if (batch === undefined) {
      batch = { messages, prepared: undefined, isStored: false, settled: Promise.withResolvers() };
      batch.settled.promise.catch(() => {}); // of one that was given up
      this.#batches.push(batch);
    }
    await this.#store(batch, batch.prepared ?? (await this.#prepareInTurn(batch)));
    return batch.settled.promise;
  }

  /** Nothing that is not reported yet will be written again, and none of it counts as stored. */
  giveUp(): void {
    const batches = this.#batches;
    if (batches.length === 0) return;
    this.#batches = [];
    this.#isInDoubt = true;
    this.#options.keys.unknown(
      this.#settled + 1,
      batches.flatMap(({ prepared }) => prepared?.added ?? []),
    );
    for (const { settled } of batches) settled.reject(givenUp());
  }

  #prepareInTurn(batch: Batch): Promise<Prepared> {
    const preparing = this.#preparing.then(() => this.#prepare(batch));
    this.#preparing = preparing.catch(() => {});
    return preparing;
  }

  async #prepare(batch: Batch): Promise<Prepared> {
    const { days, sources, keys, now } = this.#options;
    const { messages } = batch;
    const place = this.#batches.indexOf(batch);
    if (place < 0) throw givenUp();
    if (place > 0 && this.#batches[place - 1]?.prepared === undefined) {
      throw new Problem('unavailable', { reason: 'a batch before this one could not be prepared' });
    }
    if (this.#isInDoubt) await this.#leaseAgain();
    const day = this.#dayOf((messages[0] as Message).receivedAt);
    await days.prepare(day);
    // Before any key counts as sent.
    const numbered = await sources.numbered(messages);
    await this.#untilKeysAreStored(messages);
    const { repeated, otherKeys } = await this.#findRepeated(messages, day);
    const added = keys.takeAdded();
    if (!this.#batches.includes(batch)) {
      keys.unknown(this.#settled + 1, added);
      throw givenUp();
    }
    const again = new Set(repeated);
    const left = repeated.length === 0 ? numbered : numbered.filter((_, index) => !again.has(index));
    this.#day = day;
    this.#stamp = Math.max(this.#stamp, now());
    let block: StoredBlock | undefined;
    let slot = 0;
    if (left.length > 0) {
      block = blockOf(left, { day, first: this.#newest + 1, stamp: this.#stamp });
      slot = this.#slots.pop() as number;
      this.#newest += left.length;
    }
    batch.prepared = { repeated, block, slot, otherKeys, added };
    return batch.prepared;
  }

  /** What was sent before may still be stored until then; afterwards it is known what was. */
  async #leaseAgain(): Promise<void> {
    const { database, name, lane, holder, index } = this.#options;
    try {
      const { epoch, newest } = await leaseAgain(database, name, { id: lane.id, holder });
      await index.catchUp();
      this.#epoch = epoch;
      this.#newest = newest;
      this.#settled = newest;
      this.#freeSlots();
      this.#isInDoubt = false;
    } catch (error) {
      this.#isLost ||= error instanceof LaneLost;
      throw mayBeRepeated(error);
    }
  }

  #freeSlots(): void {
    this.#slots.splice(0, this.#slots.length, ...Array.from({ length: SLOTS }, (_, slot) => slot));
  }

  /** A clock that steps back goes on with the day; one that was days ahead, and is right again, begins the right one. */
  #dayOf(time: number): number {
    const day = dayNumber(time);
    return day > this.#day || dayNumber(time + DAY_MS) < this.#day ? day : this.#day;
  }

  /**
   * Keys that are no counted ones are rows, which other nodes find at once: a block with such keys is stored alone, so that none of them
   * belongs to a message behind a gap.
   */
  async #untilKeysAreStored(messages: readonly Message[]): Promise<void> {
    const before = this.#batches.filter(({ prepared }) => prepared !== undefined);
    const isOther = ({ key }: Message) => key !== undefined && countedKey(key) === undefined;
    const hasOther = before.some(({ prepared }) => (prepared?.otherKeys.keys.length ?? 0) > 0);
    if (before.length === 0 || !(hasOther || messages.some(isOther))) return;
    await Promise.all(before.map(({ settled }) => settled.promise));
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

  async #store(batch: Batch, { block, slot, otherKeys }: Prepared): Promise<void> {
    const { days } = this.#options;
    if (block !== undefined) {
      const place = { epoch: this.#epoch, slot, settled: this.#settled };
      try {
        await this.#blocks.store(block, otherKeys, place).catch(async (error: unknown) => {
          if (sqlstateOf(error) !== NO_PARTITION) throw error;
          await days.prepare(block.day, 'again'); // retention removed the day
          await this.#blocks.store(block, otherKeys, place);
        });
      } catch (error) {
        if (!this.#batches.includes(batch)) throw givenUp();
        this.#isLost ||= error instanceof LaneLost;
        throw mayBeRepeated(error);
      }
    }
    batch.isStored = true;
    this.#settle();
  }

  /** Reports the oldest batches, as far as they are stored. */
  #settle(): void {
    const { keys, index, settled } = this.#options;
    for (let batch = this.#batches[0]; batch?.isStored === true; batch = this.#batches[0]) {
      this.#batches.shift();
      const { repeated, block, slot } = batch.prepared as Prepared;
      const first = block?.first ?? this.#settled + 1;
      if (block !== undefined) {
        this.#slots.push(slot);
        this.#settled = block.first + block.count - 1;
        this.#newestStored = this.#settled;
        const later = this.#batches.flatMap(({ prepared }) => prepared?.added ?? []);
        keys.stored(this.#settled, block.count, later);
        index.add({ ...block, meta: wordsOf(block.meta) });
      }
      settled(batch.messages, { first, repeated });
      batch.settled.resolve({ first, repeated });
    }
  }
}

/** It has to be repeated: the caller holds the batch as it does while storage is full. */
function mayBeRepeated(error: unknown): unknown {
  if (!(error instanceof Problem && error.code === 'outcome_unknown')) return error;
  return new Problem('unavailable', { reason: error.reason ?? error.message, cause: error });
}

function givenUp(): Problem {
  return new Problem('unavailable', { reason: 'the batch was given up' });
}
