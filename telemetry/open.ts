/** The embedded telemetry: intake, two threads and followers behind the interface of `telemetry.ts`. */

import type { Logger } from 'pino';
import { Problem } from '../contract/problem.ts';
import { pack, transferOf } from './batch.ts';
import { Followers } from './followers.ts';
import { INTAKE_LIMITS, Intake, type IntakeLimits } from './intake.ts';
import type { JournalOptions } from './journal.ts';
import { SentNames } from './names.ts';
import { openQuestions } from './questions.ts';
import type { Appended } from './segment.ts';
import { dayOf } from './segments.ts';
import type { Retention, SegmentStats, Telemetry } from './telemetry.ts';
import { Thread } from './thread.ts';
import type { PruneCall } from './writer-thread.ts';

export interface TelemetryOptions {
  /** Where the journal lies; created with mode 0700 when it does not exist. */
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly limits?: Partial<IntakeLimits>;
  /** Applied when the journal is opened, and every hour. Everything is kept without it. */
  readonly retention?: Retention;
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

  const intake = new Intake({
    limits: { ...INTAKE_LIMITS, ...options.limits },
    now,
    log,
    write: async (messages) => {
      const batch = pack(messages, names);
      const appended = await writer.call<Appended & SetAside>('append', batch, transferOf(batch)).catch((error) => {
        names.forget(); // nobody knows how far the thread got
        throw error;
      });
      tellDamage(appended);
      followers.tell(messages, appended.first, appended.repeated);
      return appended;
    },
  });

  const prune = async (kept: Retention): Promise<readonly SegmentStats[]> => {
    if (!(kept.age >= 0) || !(kept.bytes >= 0)) {
      throw new Problem('request_invalid', { detail: 'expected an age and a number of bytes, or 0 for no bound' });
    }
    const call: PruneCall = { retention: kept, now: now() };
    const removed = await writer.call<readonly SegmentStats[]>('prune', call);
    for (const segment of removed) log.info({ ...segment }, 'telemetry segment removed');
    return removed;
  };
  const pruneInTime = () => {
    prune(retention).catch((error: unknown) => log.error({ err: error }, 'telemetry was not pruned'));
  };
  const isBounded = retention.age > 0 || retention.bytes > 0;
  if (isBounded) pruneInTime();
  const timer = isBounded ? setInterval(pruneInTime, PRUNE_EVERY_MS).unref() : undefined;
  let closing: Promise<void> | undefined;

  return {
    ...questions,
    accept: (message) => intake.accept(message),
    submit: (message, waiting) => intake.submit(message, waiting),
    onPressure: (listener) => intake.onPressure(listener),
    counters: () => intake.counters(),
    prune: (kept) => prune(kept ?? retention),
    follow: (device, listener) => followers.add(device, listener),
    close: () => {
      closing ??= (async () => {
        clearInterval(timer);
        await intake.close();
        await Promise.all([writer.close(), questions.close()]);
      })();
      return closing;
    },
  };
}
