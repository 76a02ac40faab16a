/**
 * Opens telemetry on PostgreSQL for one node: each part, the order in which they start, and the order in which they end. Acknowledged
 * is what the quorum of the database has.
 */

import { randomUUID } from 'node:crypto';
import { type DeviceId, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Wakes } from '../../storage/index.ts';
import type { PostgresDatabase, PostgresTransaction } from '../../storage/postgres/index.ts';
import { Cursor } from '../cursor.ts';
import { INTAKE_LIMITS, Intake, type IntakeLimits } from '../intake.ts';
import { LANE_POSITIONS, laneOf, type Position, positionNumber } from '../position.ts';
import type { ReservedClasses } from '../reserve/reserved-messages.ts';
import { ScheduledRetention } from '../scheduled-retention.ts';
import { StorageShares } from '../storage-shares.ts';
import { StreamLimit } from '../stream-limit.ts';
import type { Retention, SegmentStats, Telemetry, TelemetryMessage } from '../telemetry.ts';
import { DayReserve } from './day-reserve.ts';
import { Days, dayNumber } from './days.ts';
import { DeviceIndex, RUN_LENGTH } from './device-index.ts';
import { fenceOffLane, LaneLost, leaseLane } from './lane.ts';
import { SLOTS } from './lane-ends.ts';
import { LaneFollowers, POLL_EVERY_MS } from './lane-followers.ts';
import { LanePruning } from './lane-pruning.ts';
import { LaneWriter } from './lane-writer.ts';
import { KEYS_WRITTEN_EVERY, MessageKeys } from './message-keys.ts';
import { openLaneReader } from './reader.ts';
import { sharedRead } from './shared-read.ts';
import { Sources } from './sources.ts';
import { type JournalName, named, prepareTables } from './tables.ts';

export interface PostgresTelemetryOptions {
  readonly database: PostgresDatabase;
  readonly journal: JournalName;
  /** Name of the node. A process that opens the journal for the same node takes its lane over. */
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly limits?: Partial<IntakeLimits>;
  /** Applied by the node that prunes, when it begins to and every hour. Nothing is removed without it. */
  readonly retention?: Retention;
  /** Classes of messages that others do not evict. `part`: of the bytes that are retained, for each; all others share the rest. */
  readonly reserved?: ReservedClasses & { readonly part: number };
  /** What a device and a group may store through this node in a day, in percent of the bound on bytes; 0: any. */
  readonly shares?: { readonly device: number; readonly group: number };
  /** Streams that one device may have; 0 or left out: any number. */
  readonly streams?: number;
  devicesOf?(group: string): Promise<readonly string[]>;
  beforePruning?(): Promise<void>;
  removed?(segments: readonly SegmentStats[]): Promise<void>;
  observeCommit?(seconds: number): void;
  /**
   * The database was restored from a backup: readers may know positions that were given after it. So many are left out of the lane that
   * none is given twice; a lane has room for this ten times.
   */
  readonly after?: 'restore' | undefined;
  /** Another process has the lane of this node now, and nothing can be stored here any more. Called once. */
  lost?(): void;
  /** So that followers on other nodes get messages at once; without it a few times a second. */
  readonly wakes?: Wakes;
  /** Milliseconds between two looks at the other lanes; 250 when left out. */
  readonly pollEvery?: number;
  /** Messages after which the index by device and the keys are written; thousands when left out. */
  readonly marks?: { readonly index: number; readonly keys: number };
}

/** Telemetry of one node among several. */
export interface LaneTelemetry<Source extends string = DeviceId> extends Telemetry<Source> {
  /** The device is connected to this node now. What it sends comes after what it sent to others, whose keys are known. */
  claimed(device: Source): Promise<void>;
  /** Of nodes that share a database one prunes by itself, none at first; `prune()` works on each. */
  setPruning(prunes: boolean): void;
  /** Whether this node stored the message. */
  isOwn(position: Position): boolean;
  /** Another node stored something: followers get it now instead of at the next poll. */
  wake(): void;
  /** Resolves when everything accepted so far is stored or refused: another node that has the device then finds its keys. */
  settled(): Promise<void>;
  /** Within a transaction: what another node has not stored when it commits, that node stores no more. */
  fenceOff(transaction: PostgresTransaction, node: string): Promise<void>;
  /** Another process has the lane of this node: nothing can be stored any more. */
  readonly isFenced: boolean;
}

/** 0 without any. */
async function newestStampOfOthers(database: PostgresDatabase, name: JournalName, lane: number): Promise<number> {
  const sql = named('SELECT coalesce(max(stamp), 0) AS stamp FROM NAME_slots WHERE lane <> $1', name);
  const { rows } = await database.query<{ readonly stamp: number }>(sql, [lane]);
  return rows[0]?.stamp ?? 0;
}

const KEEP_ALL: Retention = { age: 0, bytes: 0 };
const STREAM_DAYS = 30;
const HOUR_MS = 3_600_000;
const DAYS_AHEAD = 1;

/** More than a lane can have given to messages after a backup was made. */
const POSITIONS_LEFT_OUT = 1e12;

/** Makes the tables where there are none. Throws Problem `database_newer`, and what the database throws. */
export async function openPostgresTelemetry<Source extends string = DeviceId>(
  options: PostgresTelemetryOptions,
): Promise<LaneTelemetry<Source>> {
  const { database, journal: name, node, now, log, retention: bound = KEEP_ALL } = options;
  await prepareTables(database, name);
  const leftOut = options.after === 'restore' ? POSITIONS_LEFT_OUT : 0;
  const holder = randomUUID();
  const lane = await leaseLane(database, name, { node, holder, leftOut });
  const base = lane.id * LANE_POSITIONS;
  const failed = (error: unknown) => log.warn({ err: error }, 'the index of the journal was not written; it is later');
  const [sources, days] = [new Sources(database, name), new Days(database, name)];
  const parts = { database, name, sources, lane: lane.id, failed };
  const index = new DeviceIndex({ ...parts, runLength: options.marks?.index ?? RUN_LENGTH });
  const keys = new MessageKeys({ ...parts, writtenEvery: options.marks?.keys ?? KEYS_WRITTEN_EVERY });
  await index.open();
  const { streams: readStreams, end, ...queries } = openLaneReader<Source>({ database, name, sources, days });
  const followers = new LaneFollowers<Source>({
    journal: { pages: queries.pages, end },
    lane: lane.id,
    pollEvery: options.pollEvery ?? POLL_EVERY_MS,
    wakes: options.wakes && { wakes: options.wakes, channel: `journal.${name}` },
    log,
  });
  await followers.open();

  const streams = new StreamLimit({ max: options.streams ?? 0, read: () => readStreams(STREAM_DAYS), log });
  await streams.refresh();
  const { device = 0, group = 0 } = options.shares ?? {};
  const shares = new StorageShares({ device: (bound.bytes * device) / 100, group: (bound.bytes * group) / 100 }, now);
  const sharesTimer = setInterval(() => shares.update(undefined, 0), 1_000).unref();
  const prepareDays = () =>
    days
      .prepare(dayNumber(now()) + DAYS_AHEAD)
      .catch((error: unknown) => log.warn({ err: error }, 'no day was prepared'));
  await prepareDays();
  const hourly = setInterval(() => {
    void prepareDays();
    void streams.refresh();
  }, HOUR_MS).unref();

  const devicesOf = options.devicesOf ?? (async () => []);
  const { reserved } = options;
  const reserve = reserved && new DayReserve({ database, name, days, sources, reserved });
  const pruning = new LanePruning({ database, name, days, sources, devicesOf, reserve, now, log });
  const retention = new ScheduledRetention({
    retention: bound,
    pruning,
    log,
    removed: () => streams.refresh(),
    ...(options.beforePruning !== undefined && { beforePruning: options.beforePruning }),
    ...(options.removed !== undefined && { removedInTime: options.removed }),
  });
  let prunes = false;
  let isLostTold = false;
  const tellLost = () => {
    if (isLostTold) return;
    isLostTold = true;
    log.error(
      { node },
      'another process has the lane of this node, or has fenced it off: nothing is stored here any more',
    );
    options.lost?.();
  };
  const writer = new LaneWriter({
    ...{ database, name, lane, holder, days, sources, keys, index, now },
    settled: (messages, { first, repeated }) => {
      const stored = messages as readonly TelemetryMessage<Source>[];
      shares.stored(stored, repeated);
      followers.stored(stored, first, repeated);
      if (prunes) retention.stored(stored);
    },
  });
  const intake = new Intake<Source>({
    limits: { ...INTAKE_LIMITS, inFlight: SLOTS, ...options.limits },
    now,
    log,
    ...(options.observeCommit !== undefined && { observeCommit: options.observeCommit }),
    isTransient: (error) => error instanceof Problem && error.code === 'unavailable' && !(error instanceof LaneLost),
    write: (messages) =>
      writer.write(messages).catch((error: unknown) => {
        if (error instanceof LaneLost) tellLost();
        throw error;
      }),
    discarded: () => writer.giveUp(),
  });
  // For each device that connects.
  const newestOfOthers = sharedRead(() => newestStampOfOthers(database, name, lane.id));
  let isClosed = false;
  let closing: Promise<void> | undefined;
  const unlessClosed = <Result>(read: () => Promise<Result>): Promise<Result> =>
    isClosed ? Promise.reject(new Problem('unavailable', { reason: 'the telemetry journal is closed' })) : read();

  const close = async () => {
    retention.stop();
    clearInterval(sharesTimer);
    clearInterval(hourly);
    await intake.close();
    isClosed = true;
    await pruning.close();
    await streams.refreshed();
    await Promise.all([followers.close(), index.close(), keys.close()]);
  };
  return {
    ...queries,
    query: (query) => unlessClosed(() => queries.query(query)),
    last: (of, after) => unlessClosed(() => queries.last(of, after)),
    accept: (message) => intake.accept(message),
    submit: (message, waiting) => intake.submit(message, waiting),
    onPressure: (listener) => intake.onPressure(listener),
    shares,
    retention: bound,
    streams,
    counters: () => ({
      ...intake.counters(),
      ...shares.counters(),
      newest: Cursor.of([base + writer.newestStored]),
      diskFreeBytes: 0,
      isDiskLow: false,
    }),
    prune: (rules) => retention.prune(rules),
    follow: (of, listener) => followers.add(of, listener),
    onStored: (listener) => followers.onStored(listener),
    claimed: async (of) => {
      keys.forget(of);
      writer.comesAfter(await newestOfOthers());
    },
    setPruning: (next) => {
      if (next === prunes) return;
      prunes = next;
      if (prunes) retention.start();
      else retention.stop();
    },
    isOwn: (position) => laneOf(positionNumber(position)) === lane.id,
    wake: () => followers.wake(),
    settled: () => intake.settled(),
    fenceOff: (transaction, of) => fenceOffLane(transaction, name, of),
    get isFenced() {
      return writer.isLost;
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
