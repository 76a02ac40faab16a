/** Medians and quartiles: on a machine that others use too, a mean says more about them than about us. */

export interface Spread {
  readonly median: number;
  /** Half of all samples lie between these. */
  readonly low: number;
  readonly high: number;
}

/** Expects at least one sample. */
export function spread(samples: readonly number[]): Spread {
  const sorted = [...samples].sort((a, b) => a - b);
  return { median: percentileOf(sorted, 50), low: percentileOf(sorted, 25), high: percentileOf(sorted, 75) };
}

/** The smallest sample that at least `percent` of all are not above. */
export function percentile(samples: readonly number[], percent: number): number {
  return percentileOf(
    [...samples].sort((a, b) => a - b),
    percent,
  );
}

function percentileOf(sorted: readonly number[], percent: number): number {
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] as number;
}
