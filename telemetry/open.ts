/** Opens the embedded telemetry: each part, the order in which they start, and the order in which they end. */

import type { DeviceId } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { DiskSpaceMonitor, type DiskSpaceOptions, Pruning } from '../storage/index.ts';
import { Cursor } from './cursor.ts';
import { Followers } from './followers.ts';
import { INTAKE_LIMITS, Intake, type IntakeLimits } from './intake.ts';
import { JournalWriter } from './journal-writer.ts';
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

/** Throws Problem `data_directory_unusable`, `database_older` or `database_newer`. */
export async function openTelemetry<Source extends string = DeviceId>(
  options: TelemetryOptions,
): Promise<Telemetry<Source>> {
  const bounds = await retentionBounds(options);
  const parts = await openParts<Source>(options, bounds.retention, bounds.budget, bounds.save);
  const { intake, writer, reader, shares, streams, disk, retention, followers } = parts;
  const { streams: _, ...queries } = reader;
  let closing: Promise<void> | undefined;
  return {
    ...queries,
    accept: (message) => intake.accept(message),
    submit: (message, waiting) => intake.submit(message, waiting),
    onPressure: (listener) => intake.onPressure(listener),
    shares: shares.shares,
    retention: bounds.retention,
    streams,
    counters: () => ({
      ...intake.counters(),
      ...shares.shares.counters(),
      newest: Cursor.of([writer.newestPosition]),
      diskFreeBytes: disk.free ?? 0,
      isDiskLow: disk.isLow,
    }),
    prune: (bound) => retention.prune(bound),
    follow: (device, listener) => followers.add(device, listener),
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
  const { directory, log, now } = options;
  const workerEnded = (error: unknown) => log.error({ err: error }, 'telemetry worker ended');
  const segmentBytes = segmentBytesFor(bound);
  const writer = new JournalWriter({ directory, segmentBytes, now, log, workerEnded, after: options.after });
  await writer.open();
  journalOpened();
  const reader = openTelemetryReader<Source>({ directory, workerEnded });

  const streams = new StreamLimit({ max: options.streams ?? 0, read: () => reader.streams(STREAM_DAYS), log });
  await streams.refresh();
  const streamsTimer =
    streams.max > 0 ? setInterval(() => void streams.refresh(), STREAMS_EVERY_MS).unref() : undefined;

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
  const followers = new Followers<Source>(log);
  const intake = new Intake<Source>({
    limits: { ...INTAKE_LIMITS, ...options.limits },
    now,
    log,
    ...(options.observeCommit !== undefined && { observeCommit: options.observeCommit }),
    write: async (messages) => {
      const appended = await writer.append(messages, disk);
      shares.shares.stored(messages, appended.repeated);
      followers.notify(messages, appended.first, appended.repeated);
      retention.stored(messages);
      return appended;
    },
  });
  retention.start();
  return { writer, reader, streams, streamsTimer, disk, shares, pruning, retention, followers, intake };
}

async function closeParts<Source extends string>(parts: Parts<Source>): Promise<void> {
  parts.retention.stop();
  parts.shares.stop();
  clearInterval(parts.streamsTimer);
  parts.disk.close();
  await parts.intake.close();
  await parts.shares.close();
  await parts.pruning.close();
  await parts.streams.refreshed();
  await Promise.all([parts.writer.close(), parts.reader.close()]);
}
