/**
 * How many batches entries make that come one by one, at random: what many devices send is a Poisson process. `storage/group-commit.ts`
 * makes the batches.
 */

/** How long a batch gathers after its first entry, as it was counted at one rate. */
export interface Gathering {
  readonly perSecond: number;
  readonly gatherMs: number;
}

/** What was counted at one rate. */
export interface CountedBatches {
  readonly entries: number;
  readonly batches: number;
  readonly seconds: number;
}

/**
 * A batch begins with an entry and gathers: for its window where few come, and longer while commits before it take their time. The next
 * one begins with the next entry.
 */
export function batchesPerSecond(perSecond: number, gatherings: readonly Gathering[]): number {
  return perSecond === 0 ? 0 : 1000 / (1000 / perSecond + gatherMsAt(perSecond, gatherings));
}

/** By the logarithm of the rate between two that were counted; beyond them as at the nearest one. */
function gatherMsAt(perSecond: number, gatherings: readonly Gathering[]): number {
  const after = gatherings.findIndex((one) => one.perSecond >= perSecond);
  const [low, high] = [gatherings[after - 1], gatherings[after]];
  if (low === undefined || high === undefined) return (high ?? gatherings.at(-1))?.gatherMs ?? 0;
  const share = Math.log(perSecond / low.perSecond) / Math.log(high.perSecond / low.perSecond);
  return low.gatherMs + share * (high.gatherMs - low.gatherMs);
}

export function gatheringOf({ entries, batches, seconds }: CountedBatches): Gathering {
  return {
    perSecond: entries / seconds,
    gatherMs: Math.max(0, (1000 * seconds) / batches - (1000 * seconds) / entries),
  };
}

/**
 * The share of entries that begin a batch where entries wait while the batch before is written, which takes `cycleMs` in all, and one that
 * comes afterwards is written at once: of an entry that comes alone 1, and fewer the more come.
 */
export function shareOfBatches(perSecond: number, cycleMs: number): number {
  const inCycle = (perSecond / 1000) * cycleMs;
  return 1 / (inCycle + Math.exp(-inCycle));
}
