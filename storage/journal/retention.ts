/**
 * Plans retention: which segments are removed, and which are rewritten without some devices, by age, age per group, and bytes.
 * Touches no file. A device counts to the group it is in now; the general age holds for devices of groups without a rule.
 */

import { trustedTime } from './trusted-time.ts';

const DAY_MS = 86_400_000;

export interface GroupAge {
  readonly name: string;
  /** Messages of days that ended longer ago than this many ms are removed; 0: never. */
  readonly age: number;
}

export interface RetentionRules {
  readonly age: number;
  readonly bytes: number;
  readonly groups: readonly GroupAge[];
}

/** A segment that is no longer written. */
export interface ClosedSegment {
  readonly day: string;
  readonly bytes: number;
  /** What was removed from it before: see `removalMark()`. */
  readonly removedMark: string;
}

export interface PlannedRewrite {
  /** Index in `RetentionInput.closed`. */
  readonly index: number;
  /** The groups whose devices are removed; or the only ones whose devices are kept. */
  readonly groups: readonly string[];
  readonly which: 'removed' | 'kept';
  readonly mark: string;
}

export interface RetentionPlan {
  readonly removed: readonly number[];
  readonly rewrites: readonly PlannedRewrite[];
  /** Milliseconds by which the clock is ahead of the trusted time. */
  readonly ahead: number;
}

export interface RetentionInput {
  /** Oldest first. */
  readonly closed: readonly ClosedSegment[];
  /** Of the segment that is being written. */
  readonly current: { readonly day: string; readonly bytes: number } | undefined;
  readonly now: number;
}

export function planRetention(
  { age, bytes, groups }: RetentionRules,
  { closed, current, now }: RetentionInput,
): RetentionPlan {
  const time = trustedTime(
    [...closed, ...(current === undefined ? [] : [current])].map(({ day }) => day),
    now,
  );
  let total = closed.reduce((sum, one) => sum + one.bytes, current?.bytes ?? 0);
  const removed: number[] = [];
  const rewrites: PlannedRewrite[] = [];
  for (const [index, one] of closed.entries()) {
    const ended = Date.parse(one.day) + DAY_MS;
    const isOld = (bound: number) => bound > 0 && ended < time.now - bound;
    const expired = groups.filter((group) => isOld(group.age)).map(({ name }) => name);
    if ((isOld(age) && expired.length === groups.length) || (bytes > 0 && total > bytes)) {
      removed.push(index);
      total -= one.bytes;
      continue;
    }
    const mark = removalMark(isOld(age), expired);
    if (mark === '' || mark === one.removedMark) continue;
    const kept = groups.map(({ name }) => name).filter((name) => !expired.includes(name));
    const these = isOld(age)
      ? ({ which: 'kept', groups: kept } as const)
      : ({ which: 'removed', groups: expired } as const);
    rewrites.push({ index, mark, ...these });
  }
  return { removed, rewrites, ahead: time.ahead };
}

/** Names what was removed, so that it is not repeated. */
function removalMark(isRestOld: boolean, expired: readonly string[]): string {
  return [...(isRestOld ? ['*'] : []), ...expired.toSorted()].join(' ');
}
