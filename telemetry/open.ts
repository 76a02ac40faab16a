/** The embedded telemetry: intake, two threads and followers behind the interface of `telemetry.ts`. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import {
  type Appended,
  DiskGuard,
  type DiskGuardOptions,
  dayOf,
  type JournalOptions,
  Pruning,
  pack,
  SentNames,
  transferOf,
  WorkerClient,
} from '../storage/index.ts';
import { Followers } from './followers.ts';
import { INTAKE_LIMITS, Intake, type IntakeLimits } from './intake.ts';
import { openQuestions } from './questions.ts';
import { boundsOf, type RetentionSetting } from './retention-bytes.ts';
import { SharesFile } from './shares-file.ts';
import { StorageShares } from './storage-shares.ts';
import { StreamLimit } from './stream-limit.ts';
import type { Retention, SegmentStats, Telemetry } from './telemetry.ts';

export interface TelemetryOptions {
  /** Where the journal lies; created with mode 0700 when it does not exist. */
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly limits?: Partial<IntakeLimits>;
  /** Applied when the journal is opened, and every hour. Everything is kept without it. */
  readonly retention?: RetentionSetting;
  /** What a device and a group may store in a day, in percent of the bytes that are kept, or of the room there is; 0: any. */
  readonly shares?: { readonly device: number; readonly group: number };
  /** Streams that one device may have; 0 or left out: any number. */
  readonly streams?: number;
  /** Who is in a group now; needed where retention has rules for groups. */
  devicesOf?(group: string): Promise<readonly string[]>;
  /** What has to be done before anything is removed; while it fails nothing is. */
  beforePruning?(): Promise<void>;
  /** Called with what retention removed by itself. */
  forgotten?(segments: readonly SegmentStats[]): Promise<void>;
  /** Nothing is stored while the disk has fewer bytes free, or than a tenth of it where that is less; 0, and nobody looks. */
  readonly diskFloor?: number;
  readonly disk?: Pick<DiskGuardOptions, 'lookEvery' | 'roomOf'>;
  /**
   * Of a journal that was restored from a backup: what came after the backup had positions too, which others may know. Leaves
   * out more than there can have been, so that none of them is given again.
   */
  readonly after?: 'restore' | undefined;
}

const POSITIONS_LEFT_OUT = 1e12;

const PRUNE_EVERY_MS = 3_600_000;

/** With a bound on bytes no segment is larger than this part of it, so that what goes is never nearly all. */
const SEGMENTS_IN_BOUND = 8;

/** Nor than this. */
const LARGEST_SEGMENT = 4 * 1024 ** 3;

/** Between two looks at the day and the disk, for the shares; and between two times that they are saved. */
const LOOK_EVERY_MS = 1_000;
const SAVE_EVERY_LOOKS = 30;

/** A stream counts for so many days after its last message, and is counted again so often. */
const STREAM_DAYS = 30;
const STREAMS_EVERY_MS = 3_600_000;

interface SetAside {
  readonly setAside: readonly string[];
}

/** Throws Problem `data_directory_unusable`, `database_older` or `database_newer`. */
export async function openTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { directory, log, now } = options;
  const { retention, budget, remember } = await boundsOf(options);
  const names = new SentNames();
  const workerEnded = (error: unknown) => log.error({ err: error }, 'telemetry worker ended');
  const writerEnded = (error: unknown) => {
    names.forget(); // the next thread knows none
    workerEnded(error);
  };
  const opening: JournalOptions = {
    directory,
    ...(options.after === 'restore' && { leap: { positions: POSITIONS_LEFT_OUT, day: dayOf(now()) } }),
    ...(retention.bytes > 0 && {
      segmentBytes: Math.min(LARGEST_SEGMENT, Math.ceil(retention.bytes / SEGMENTS_IN_BOUND)),
    }),
  };
  const writer = new WorkerClient({
    program: new URL('../storage/journal/writer-worker.ts', import.meta.url),
    name: 'the journal',
    opening,
    endedCode: 'internal',
    ended: writerEnded,
  });
  const questions = openQuestions({ directory, workerEnded });
  const followers = new Followers(log);
  const tellDamage = ({ setAside }: SetAside) => {
    for (const file of setAside) log.error({ file }, 'a damaged telemetry segment was set aside');
  };
  tellDamage((await writer.open()) as SetAside);
  remember();

  const streams = new StreamLimit({ most: options.streams ?? 0, read: () => questions.streams(STREAM_DAYS), log });
  await streams.refresh();
  const countStreams = () => void streams.refresh();
  const streamsTimer = streams.most > 0 ? setInterval(countStreams, STREAMS_EVERY_MS).unref() : undefined;

  const disk = new DiskGuard(directory, { floor: options.diskFloor ?? 0, log, ...options.disk });
  await disk.look();

  const { device = 0, group = 0 } = options.shares ?? {};
  const file = new SharesFile(directory, log);
  const hasShares = device > 0 || group > 0;
  const shares = new StorageShares(
    { device: (budget * device) / 100, group: (budget * group) / 100 },
    now,
    hasShares ? file.read() : undefined,
  );
  let saving = Promise.resolve();
  const saveShares = () => {
    saving = saving.then(async () => {
      const changed = hasShares ? shares.takeChanges() : undefined;
      if (changed !== undefined) await file.write(changed);
    });
    return saving;
  };
  shares.listen({ changed: () => void saveShares() });
  let looks = 0;
  const lookAtShares = () => {
    shares.look(disk.free, disk.floor);
    looks += 1;
    if (looks % SAVE_EVERY_LOOKS === 0) void saveShares();
  };
  lookAtShares();
  const sharesTimer = hasShares ? setInterval(lookAtShares, LOOK_EVERY_MS).unref() : undefined;

  let newestPosition = 0;
  let bytesSincePrune = 0;
  const intake = new Intake({
    limits: { ...INTAKE_LIMITS, ...options.limits },
    now,
    log,
    write: async (messages) => {
      disk.expectRoom();
      const batch = pack(messages, names);
      const appended = await writer.call<Appended & SetAside>('append', batch, transferOf(batch)).catch((error) => {
        names.forget(); // nobody knows how far the thread got
        throw error;
      });
      tellDamage(appended);
      const stored = messages.length - appended.repeated.length;
      if (stored > 0) newestPosition = appended.first + stored - 1;
      shares.stored(messages, appended.repeated);
      followers.tell(messages, appended.first, appended.repeated);
      if (retention.bytes > 0) pruneAfter(messages);
      return appended;
    },
  });

  const pruning = new Pruning({ writer, devicesOf: options.devicesOf ?? (async () => []), now, log, workerEnded });
  const prune = async ({ age, bytes, groups = {} }: Retention): Promise<readonly SegmentStats[]> => {
    if (!(age >= 0) || !(bytes >= 0)) {
      throw new Problem('request_invalid', { detail: 'expected an age and a number of bytes, or 0 for no bound' });
    }
    await options.beforePruning?.();
    const rules = Object.entries(groups).map(([name, of]) => ({ name, age: of }));
    const gone = await pruning.prune({ age, bytes, groups: rules });
    if (gone.length > 0) await streams.refresh();
    return gone;
  };
  const pruneInTime = async () => {
    try {
      const gone = await prune(retention);
      if (gone.length > 0) await options.forgotten?.(gone);
    } catch (error) {
      log.error({ err: error }, 'telemetry was not pruned');
    }
  };
  /** The bound on bytes holds between two hours as well: it is looked at whenever half a segment came. */
  const pruneAfter = (messages: readonly { readonly payload: Uint8Array }[]) => {
    for (const { payload } of messages) bytesSincePrune += payload.byteLength;
    if (bytesSincePrune < retention.bytes / SEGMENTS_IN_BOUND / 2) return;
    bytesSincePrune = 0;
    void pruneInTime();
  };
  const isBounded = [retention.age, retention.bytes, ...Object.values(retention.groups ?? {})].some(
    (bound) => bound > 0,
  );
  if (isBounded) void pruneInTime();
  const timer = isBounded ? setInterval(pruneInTime, PRUNE_EVERY_MS).unref() : undefined;
  let closing: Promise<void> | undefined;

  const { streams: _, ...asked } = questions;
  return {
    ...asked,
    accept: (message) => intake.accept(message),
    submit: (message, waiting) => intake.submit(message, waiting),
    onPressure: (listener) => intake.onPressure(listener),
    shares,
    streams,
    counters: () => ({
      ...intake.counters(),
      ...shares.counters(),
      newestPosition,
      diskFreeBytes: disk.free ?? 0,
      isDiskLow: disk.isLow,
    }),
    prune: (kept) => prune(kept ?? retention),
    follow: (device, listener) => followers.add(device, listener),
    close: () => {
      closing ??= (async () => {
        clearInterval(timer);
        clearInterval(sharesTimer);
        clearInterval(streamsTimer);
        disk.close();
        await intake.close();
        await saveShares();
        await pruning.close();
        await streams.refreshed();
        await Promise.all([writer.close(), questions.close()]);
      })();
      return closing;
    },
  };
}
