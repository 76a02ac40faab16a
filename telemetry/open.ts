/** The embedded telemetry: intake, two threads and followers behind the interface of `telemetry.ts`. */

import type { Logger } from 'pino';
import { Problem } from '../contract/problem.ts';
import { pack, transferOf } from './batch.ts';
import { DiskGuard, type DiskGuardOptions } from './disk-guard.ts';
import { Followers } from './followers.ts';
import { INTAKE_LIMITS, Intake, type IntakeLimits } from './intake.ts';
import type { JournalOptions } from './journal.ts';
import { SentNames } from './names.ts';
import { Pruning } from './pruning.ts';
import { openQuestions } from './questions.ts';
import type { Appended } from './segment.ts';
import { dayOf } from './segments.ts';
import type { Retention, SegmentStats, Telemetry } from './telemetry.ts';
import { Thread } from './thread.ts';

export interface TelemetryOptions {
  /** Where the journal lies; created with mode 0700 when it does not exist. */
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly limits?: Partial<IntakeLimits>;
  /** Applied when the journal is opened, and every hour. Everything is kept without it. */
  readonly retention?: Retention;
  /** Who is in a group now; needed where retention has rules for groups. */
  devicesOf?(group: string): Promise<readonly string[]>;
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

const KEEP_ALL: Retention = { age: 0, bytes: 0 };

interface SetAside {
  readonly setAside: readonly string[];
}

/** Throws Problem `data_directory_unusable`, `database_older` or `database_newer`. */
export async function openTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { directory, log, now, retention = KEEP_ALL } = options;
  const names = new SentNames();
  const died = (error: unknown) => log.error({ err: error }, 'telemetry thread ended');
  const writerDied = (error: unknown) => {
    names.forget(); // the next thread knows none
    died(error);
  };
  const opening: JournalOptions = {
    directory,
    ...(options.after === 'restore' && { leap: { positions: POSITIONS_LEFT_OUT, day: dayOf(now()) } }),
    ...(retention.bytes > 0 && { segmentBytes: Math.ceil(retention.bytes / SEGMENTS_IN_BOUND) }),
  };
  const writer = new Thread({ program: new URL('./writer-thread.ts', import.meta.url), opening, died: writerDied });
  const questions = openQuestions({ directory, died });
  const followers = new Followers(log);
  const tellDamage = ({ setAside }: SetAside) => {
    for (const file of setAside) log.error({ file }, 'a damaged telemetry segment was set aside');
  };
  tellDamage((await writer.open()) as SetAside);

  const disk = new DiskGuard(directory, { floor: options.diskFloor ?? 0, log, ...options.disk });
  await disk.look();

  let newestPosition = 0;
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
      followers.tell(messages, appended.first, appended.repeated);
      return appended;
    },
  });

  const pruning = new Pruning({ writer, devicesOf: options.devicesOf ?? (async () => []), now, log, died });
  const prune = async ({ age, bytes, groups = {} }: Retention): Promise<readonly SegmentStats[]> => {
    if (!(age >= 0) || !(bytes >= 0)) {
      throw new Problem('request_invalid', { detail: 'expected an age and a number of bytes, or 0 for no bound' });
    }
    return pruning.prune({ age, bytes, groups: Object.entries(groups).map(([name, of]) => ({ name, age: of })) });
  };
  const pruneInTime = async () => {
    try {
      const gone = await prune(retention);
      if (gone.length > 0) await options.forgotten?.(gone);
    } catch (error) {
      log.error({ err: error }, 'telemetry was not pruned');
    }
  };
  const isBounded = [retention.age, retention.bytes, ...Object.values(retention.groups ?? {})].some(
    (bound) => bound > 0,
  );
  if (isBounded) void pruneInTime();
  const timer = isBounded ? setInterval(pruneInTime, PRUNE_EVERY_MS).unref() : undefined;
  let closing: Promise<void> | undefined;

  return {
    ...questions,
    accept: (message) => intake.accept(message),
    submit: (message, waiting) => intake.submit(message, waiting),
    onPressure: (listener) => intake.onPressure(listener),
    counters: () => ({ ...intake.counters(), newestPosition, diskFreeBytes: disk.free ?? 0, isDiskLow: disk.isLow }),
    prune: (kept) => prune(kept ?? retention),
    follow: (device, listener) => followers.add(device, listener),
    close: () => {
      closing ??= (async () => {
        clearInterval(timer);
        disk.close();
        await intake.close();
        await pruning.close();
        await Promise.all([writer.close(), questions.close()]);
      })();
      return closing;
    },
  };
}
