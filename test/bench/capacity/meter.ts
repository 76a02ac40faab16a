/** CPU of a fleet while something is done, with what follows it. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Fleet, Usage } from './nodes.ts';

export interface Metered {
  readonly usage: Usage;
  readonly seconds: number;
  /** Of the work alone. */
  readonly workSeconds: number;
}

/** Of batches, and of what is written a second later: presence. */
const SETTLED_AFTER_MS = 1_200;

export function settled(): Promise<void> {
  return delay(SETTLED_AFTER_MS);
}

/** From rest to rest. */
export async function metered(fleet: Fleet, work: () => Promise<unknown>): Promise<Metered> {
  const [before, began] = [fleet.usage(), performance.now()];
  await work();
  const workSeconds = (performance.now() - began) / 1000;
  await settled();
  return { usage: combined(fleet.usage(), before, -1), seconds: (performance.now() - began) / 1000, workSeconds };
}

/** One after the other. */
export function together(all: readonly Metered[]): Metered {
  return all.reduce((sum, one) => ({
    usage: combined(sum.usage, one.usage, 1),
    seconds: sum.seconds + one.seconds,
    workSeconds: sum.workSeconds + one.workSeconds,
  }));
}

function combined(one: Usage, other: Usage, sign: 1 | -1): Usage {
  return {
    first: one.first + sign * other.first,
    others: one.others + sign * other.others,
    primary: one.primary + sign * other.primary,
    standby: one.standby + sign * other.standby,
  };
}
