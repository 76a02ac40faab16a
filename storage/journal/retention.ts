/**
 * Which segments go, and of which only some devices go: by age, by age per group, and by bytes. Decides; touches no file.
 * A device belongs to the group it is in when this is asked; one in no group that has a rule of its own is kept like all.
 */

import { believedTime } from './believed-time.ts';

const DAY_MS = 86_400_000;

export interface GroupAge {
  readonly name: string;
  /** Messages of days that ended longer ago than this many ms go; 0 keeps them. */
  readonly age: number;
}

export interface Kept {
  readonly age: number;
  readonly bytes: number;
  readonly groups: readonly GroupAge[];
}

/** A segment that isn't written any more. */
export interface Resting {
  readonly day: string;
  readonly bytes: number;
  /** What was forgotten of it already: see `forgottenMark()`. */
  readonly forgotten: string;
}

export interface Forgetting {
  /** By their place in what was asked. */
  readonly index: number;
  /** The groups whose devices are forgotten; or those that alone are kept. */
  readonly groups: readonly string[];
  readonly which: 'forgotten' | 'kept';
  readonly mark: string;
}

export interface Plan {
  readonly removed: readonly number[];
  readonly forgetting: readonly Forgetting[];
  /** How far the clock is ahead of the time that this goes by, in ms. */
  readonly ahead: number;
}

export interface PlanInput {
  /** Oldest first. */
  readonly resting: readonly Resting[];
  /** Of the segment that is being written. */
  readonly current: { readonly day: string; readonly bytes: number } | undefined;
  readonly now: number;
}

export function planRetention({ age, bytes, groups }: Kept, { resting, current, now }: PlanInput): Plan {
  const time = believedTime(
    [...resting, ...(current === undefined ? [] : [current])].map(({ day }) => day),
    now,
  );
  let total = resting.reduce((sum, one) => sum + one.bytes, current?.bytes ?? 0);
  const removed: number[] = [];
  const forgetting: Forgetting[] = [];
  for (const [index, one] of resting.entries()) {
    const ended = Date.parse(one.day) + DAY_MS;
    const isOld = (bound: number) => bound > 0 && ended < time.now - bound;
    const expired = groups.filter((group) => isOld(group.age)).map(({ name }) => name);
    if ((isOld(age) && expired.length === groups.length) || (bytes > 0 && total > bytes)) {
      removed.push(index);
      total -= one.bytes;
      continue;
    }
    const mark = forgottenMark(isOld(age), expired);
    if (mark === '' || mark === one.forgotten) continue;
    const kept = groups.map(({ name }) => name).filter((name) => !expired.includes(name));
    const these = isOld(age)
      ? ({ which: 'kept', groups: kept } as const)
      : ({ which: 'forgotten', groups: expired } as const);
    forgetting.push({ index, mark, ...these });
  }
  return { removed, forgetting, ahead: time.ahead };
}

/** Names what was forgotten, so that it isn't done twice. */
function forgottenMark(isRestOld: boolean, expired: readonly string[]): string {
  return [...(isRestOld ? ['*'] : []), ...expired.toSorted()].join(' ');
}
