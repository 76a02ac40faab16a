/**
 * Which segments go, and of which only some devices go: by age, by age per group, and by bytes. Decides; touches no file.
 * A device belongs to the group it is in when this is asked; one in no group that has a rule of its own is kept like all.
 */

import { trustedTime } from './trusted-time.ts';

const DAY_MS = 86_400_000;

export interface GroupAge {
  readonly name: string;
  /** Messages of days that ended longer ago than this many ms go; 0 keeps them. */
  readonly age: number;
}

export interface RetentionRules {
  readonly age: number;
  readonly bytes: number;
  readonly groups: readonly GroupAge[];
}

/** A segment that isn't written any more. */
export interface ClosedSegment {
  readonly day: string;
  readonly bytes: number;
  /** What was forgotten of it already: see `removalMark()`. */
  readonly removedMark: string;
}

export interface PlannedRewrite {
  /** By their place in what was asked. */
  readonly index: number;
  /** The groups whose devices are forgotten; or those that alone are kept. */
  readonly groups: readonly string[];
  readonly which: 'removed' | 'kept';
  readonly mark: string;
}

export interface RetentionPlan {
  readonly removed: readonly number[];
  readonly rewrites: readonly PlannedRewrite[];
  /** How far the clock is ahead of the time that this goes by, in ms. */
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

/** Names what was forgotten, so that it isn't done twice. */
function removalMark(isRestOld: boolean, expired: readonly string[]): string {
  return [...(isRestOld ? ['*'] : []), ...expired.toSorted()].join(' ');
}
