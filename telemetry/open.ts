/** Opens the embedded telemetry: each part, the order in which they start, and the order in which they end. */

import { type DeviceId, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { DiskSpaceMonitor, type DiskSpaceOptions, Pruning } from '../storage/index.ts';
import { Cursor } from './cursor.ts';
import { Followers } from './followers.ts';
import { INTAKE_LIMITS, Intake, type IntakeLimits } from './intake.ts';
import { JournalWriter } from './journal-writer.ts';
import { ConnectedNodes, type NodeConnected, sumOfCounters } from './nodes/connected-nodes.ts';
import { StoredMessages } from './nodes/stored-messages.ts';
import { type RetentionSetting, retentionBounds } from './retention-bounds.ts';
import { ScheduledRetention, segmentBytesFor } from './scheduled-retention.ts';
import { ShareUpdates } from './share-updates.ts';
import { StreamLimit } from './stream-limit.ts';
import type { Retention, SegmentStats, Telemetry } from './telemetry.ts';
import { openTelemetryReader } from './telemetry-reader.ts';

export interface TelemetryOptions {
  /** Directory of the journal; created with mode 0700 when it does not exist. */
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly limits?: Partial<IntakeLimits>;
  /** Most nodes that are connected at a time; none when left out. They and this thread divide the bound of queued bytes. */
  readonly nodes?: number;
  /** Applied when the journal is opened, and every hour. Nothing is removed without it. */
  readonly retention?: RetentionSetting;
  /** What a device and a group may store in a day, in percent of the bound on bytes, or else of the free space; 0: any. */
  readonly shares?: { readonly device: number; readonly group: number };
  /** Streams that one device may have; 0 or left out: any number. */
  readonly streams?: number;
  /** Devices that are in a group now; needed where retention has rules for groups. */
  devicesOf?(group: string): Promise<readonly string[]>;
  /** Awaited before anything is removed; while it fails nothing is. */
  beforePruning?(): Promise<void>;
  /** Called with what retention removed by itself. */
  removed?(segments: readonly SegmentStats[]): Promise<void>;
  /** Nothing is stored while the disk has fewer bytes free, or fewer than a tenth of it where that is less; 0: not monitored. */
  readonly diskFloor?: number;
  /** Called at each commit, with the seconds since its first message was received. */
  observeCommit?(seconds: number): void;
  readonly disk?: Pick<DiskSpaceOptions, 'checkEvery' | 'spaceOf'>;
  /**
   * For a journal that was restored from a backup: messages after the backup had positions, which readers may know. Skips more
   * positions than can have been used, so that none is used twice.
   */
  readonly after?: 'restore' | undefined;
}

const NO_SHARES = { device: 0, group: 0 };

/** A stream counts for so many days after its last message, and streams are counted again so often. */
const STREAM_DAYS = 30;
const STREAMS_EVERY_MS = 3_600_000;

/** Telemetry in files of this host. */
export interface EmbeddedTelemetry<Source extends string = DeviceId> extends Telemetry<Source> {
  /**
   * For another thread, which opens an intake of its own with it (`openNodeTelemetry()`): batches go from there to the thread that writes
   * the journal. Rejects with a Problem when the journal can't be opened. Requires the option `nodes`.
   */
  connectNode(): Promise<NodeConnected>;
  readonly streams: Telemetry<Source>['streams'] & Pick<StreamLimit, 'of'>;
}

/** Throws Problem `data_directory_unusable`, `database_older` or `database_newer`. */
export async function openTelemetry<Source extends string = DeviceId>(
  options: TelemetryOptions,
): Promise<EmbeddedTelemetry<Source>> {
  const bounds = await retentionBounds(options);
  const parts = await openParts<Source>(options, bounds.retention, bounds.budget, bounds.save);
  const { intake, writer, shares, streams, disk, retention, followers, nodes } = parts;
  let closing: Promise<void> | undefined;
  return {
    ...queriesOf(parts),
    accept: (message) => intake.accept(message),
    submit: (message, waiting) => intake.submit(message, waiting),
    onPressure: (listener) => intake.onPressure(listener),
    shares: shares.shares,
    retention: bounds.retention,
    streams,
    counters: () => ({
      ...sumOfCounters(intake.counters(), nodes.counters()),
      ...shares.shares.counters(),
      newest: Cursor.of([Math.max(writer.newestPosition, nodes.newestPosition)]),
      diskFreeBytes: disk.free ?? 0,
      isDiskLow: disk.isLow,
    }),
    prune: (bound) => retention.prune(bound),
    follow: (device, listener) => followers.add(device, listener),
    onStored: (listener) => followers.onStored(listener),
    connectNode: () => nodes.connect(),
    close: () => {
      closing ??= closeParts(parts);
      return closing;
    },
  };
}

type Parts<Source extends string> = Awaited<ReturnType<typeof openParts<Source>>>;

async function openParts<Source extends string>(
  options: TelemetryOptions,
  bound: Retention,
  budget: number,
  journalOpened: () => void,
) {
  const { directory, log, now, nodes: mostNodes = 0, observeCommit } = options;
  const workerEnded = (error: unknown) => log.error({ err: error }, 'telemetry worker ended');
  const segmentBytes = segmentBytesFor(bound);
  const writer = new JournalWriter({ directory, segmentBytes, now, log, workerEnded, after: options.after });
  await writer.open();
  journalOpened();
  const reader = openTelemetryReader<Source>({ directory, workerEnded });

  const streams = new StreamLimit({
    max: options.streams ?? 0,
    read: () => reader.streams(STREAM_DAYS),
    counted: () => nodes.streamsCounted(),
    log,
  });

  const disk = new DiskSpaceMonitor(directory, { floor: options.diskFloor ?? 0, log, ...options.disk });
  await disk.check();
  const shares = new ShareUpdates({ directory, shares: options.shares ?? NO_SHARES, budget, disk, now, log });

  const devicesOf = options.devicesOf ?? (async () => []);
  const pruning = new Pruning({ writer: writer.worker, devicesOf, now, log, workerEnded });
  const retention = new ScheduledRetention({
    retention: bound,
    pruning,
    log,
    removed: () => streams.refresh(),
    ...(options.beforePruning !== undefined && { beforePruning: options.beforePruning }),
    ...(options.removed !== undefined && { removedInTime: options.removed }),
  });

  const configured = { ...INTAKE_LIMITS, ...options.limits };
  const limits = { ...configured, queuedBytes: Math.floor(configured.queuedBytes / (mostNodes + 1)) };
  const followers = new Followers<Source>(log, () => stored?.followChanged());
  const stored =
    mostNodes === 0
      ? undefined
      : new StoredMessages<Source>({
          log,
          port: () => writer.followerPort(),
          followed: () => followers.devices,
          stored: (messages) => followers.notifyStored(messages),
        });
  const nodes = new ConnectedNodes({
    limits,
    disk,
    shares: shares.shares,
    streams,
    log,
    journalPort: async () => {
      if (stored === undefined) throw new Problem('internal', { reason: 'expected the option nodes, found none' });
      await stored.connect();
      return writer.senderPort();
    },
    stored: ({ storedBytes, commitSeconds }) => {
      retention.storedBytes(storedBytes);
      for (const seconds of commitSeconds) observeCommit?.(seconds);
      followers.stored();
    },
  });
  const intake = new Intake<Source>({
    limits,
    now,
    log,
    ...(observeCommit !== undefined && { observeCommit }),
    write: async (messages) => {
      if (stored !== undefined) await stored.connect();
      const appended = await writer.append(messages, disk);
      shares.shares.stored(messages, appended.repeated);
      if (stored === undefined) followers.notify(messages, appended.first, appended.repeated);
      retention.stored(messages);
      followers.stored();
      return appended;
    },
  });

  await streams.refresh();
  const streamsTimer =
    streams.max > 0 ? setInterval(() => void streams.refresh(), STREAMS_EVERY_MS).unref() : undefined;
  retention.start();
  const watching = { streams, streamsTimer, disk, shares };
  return { ...watching, writer, reader, pruning, retention, followers, intake, nodes, stored };
}

/** A query that begins after `follow()` finds everything that the listener is not told. */
function queriesOf<Source extends string>({ reader, stored }: Parts<Source>) {
  const { streams: _, close: __, ...queries } = reader;
  if (stored === undefined) return queries;
  const applied = () => stored.applied();
  return {
    ...queries,
    query: (query) => applied().then(() => queries.query(query)),
    pages: async function* (range) {
      await applied();
      yield* queries.pages(range);
    },
    last: (device, after) => applied().then(() => queries.last(device, after)),
    series: (query) => applied().then(() => queries.series(query)),
    bounds: () => applied().then(() => queries.bounds()),
    cursorBefore: (first) => applied().then(() => queries.cursorBefore(first)),
  } satisfies Partial<Telemetry<Source>>;
}

/** Nodes are closed before, by the threads in which they run. */
async function closeParts<Source extends string>(parts: Parts<Source>): Promise<void> {
  parts.retention.stop();
  parts.shares.stop();
  clearInterval(parts.streamsTimer);
  parts.disk.close();
  await parts.intake.close();
  parts.nodes.close();
  await parts.shares.close();
  await parts.pruning.close();
  await parts.streams.refreshed();
  await Promise.all([parts.writer.close(), parts.reader.close()]);
  parts.stored?.close();
}
