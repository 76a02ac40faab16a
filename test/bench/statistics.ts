/** Medians, because on a shared machine a mean depends on the other load. */

/** A figure of a server that was started several times. */
export interface Spread {
  /** Of all samples. */
  readonly median: number;
  /** The lowest and the highest median that one of its processes had. Two processes of one program differ by 10 %. */
  readonly low: number;
  readonly high: number;
}

/** From the samples of each process; expects at least one of each. */
export function spread(processes: readonly (readonly number[])[]): Spread {
  const medians = processes.map((samples) => percentile(samples, 50));
  return { median: percentile(processes.flat(), 50), low: Math.min(...medians), high: Math.max(...medians) };
}

/** The smallest sample that at least `percent` of all are not above. */
export function percentile(samples: readonly number[], percent: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] as number;
}
