/**
 * How many batches entries make that come one by one. A batch begins with an entry, gathers, and is written when it has gathered and
 * the writing before it has ended (`storage/group-commit.ts`). Entries come at random: what many devices send is a Poisson process.
 */

export interface BatchTimes {
  /** From the first entry of a batch until the batch is closed, while nothing else is being written. */
  readonly gatherMs: number;
  /** Between two batches, at least: what entries without end get. */
  readonly cycleMs: number;
}

/** What was counted at one rate. */
export interface CountedBatches {
  readonly entries: number;
  readonly batches: number;
  readonly seconds: number;
}

/** `grainMs`: entries come at multiples of this time alone, as those of the simulator do; 0: at any time. */
export function batchesPerSecond(perSecond: number, { gatherMs, cycleMs }: BatchTimes, grainMs = 0): number {
  if (perSecond === 0) return 0;
  const perMs = perSecond / 1000;
  if (grainMs > 0) return 1000 / onGrains(perMs, { gatherMs, cycleMs }, grainMs);
  // The next batch begins a random time X after this one was closed, and is closed X + gather later, or when the cycle is over.
  const spare = Math.max(0, cycleMs - gatherMs);
  return 1000 / (gatherMs + spare + Math.exp(-perMs * spare) / perMs);
}

/** The same where X is a number of grains: the first has entries with the chance p. */
function onGrains(perMs: number, { gatherMs, cycleMs }: BatchTimes, grainMs: number): number {
  const p = 1 - Math.exp(-perMs * grainMs);
  const gathered = Math.max(1, Math.ceil(gatherMs / grainMs));
  const spare = Math.max(0, Math.ceil(cycleMs / grainMs) - gathered);
  const within = 1 - (1 - p) ** spare;
  return cycleMs * within + (1 - within) * grainMs * (gathered + spare + 1 / p - 1);
}

const LONGEST_GATHER_MS = 40;
const LONGEST_CYCLE_MS = 120;
const STEP_MS = 0.1;

/** The times that explain the counts best; a batch gathers for its window at least. */
export function fitBatchTimes(counted: readonly CountedBatches[], windowMs: number): BatchTimes {
  let best: BatchTimes = { gatherMs: windowMs, cycleMs: windowMs };
  let least = Number.POSITIVE_INFINITY;
  for (let gatherMs = windowMs; gatherMs <= LONGEST_GATHER_MS; gatherMs += STEP_MS) {
    for (let cycleMs = gatherMs; cycleMs <= LONGEST_CYCLE_MS; cycleMs += STEP_MS) {
      const error = counted.reduce((sum, { entries, batches, seconds }) => {
        const expected = batchesPerSecond(entries / seconds, { gatherMs, cycleMs }) * seconds;
        return sum + Math.log(batches / expected) ** 2;
      }, 0);
      if (error < least) [best, least] = [{ gatherMs, cycleMs }, error];
    }
  }
  return { gatherMs: Number(best.gatherMs.toFixed(1)), cycleMs: Number(best.cycleMs.toFixed(1)) };
}

/** Work that consists of so many of one thing and so many of another, and what it cost. */
export interface Observed {
  readonly each: number;
  readonly batches: number;
  readonly micros: number;
}

/** What one of each costs: least squares of the relative errors, and nothing below zero. */
export function fitCosts(observed: readonly Observed[]): { readonly each: number; readonly batch: number } {
  let [ee, eb, bb, e, b] = [0, 0, 0, 0, 0];
  for (const { each, batches, micros } of observed) {
    const [x, y] = [each / Math.max(1, micros), batches / Math.max(1, micros)];
    ee += x * x;
    eb += x * y;
    bb += y * y;
    e += x;
    b += y;
  }
  const determinant = ee * bb - eb * eb;
  const both = { each: (e * bb - b * eb) / determinant, batch: (ee * b - eb * e) / determinant };
  if (both.each >= 0 && both.batch >= 0) return both;
  return both.each < 0 ? { each: 0, batch: Math.max(0, b / bb) } : { each: Math.max(0, e / ee), batch: 0 };
}
