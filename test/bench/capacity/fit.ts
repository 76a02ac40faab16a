/** Costs of several things from work that consists of so many of each: least squares, and nothing below zero. */

/** How many of each thing, in an order of the caller, and what all of them cost. */
export interface Observed {
  readonly counts: readonly number[];
  readonly micros: number;
}

const ROUNDS = 50_000;

/** What one of each costs. Work of four times the size may be off by twice as much: what disturbs it comes with the time it takes. */
export function fitCosts(observed: readonly Observed[]): readonly number[] {
  const size = observed[0]?.counts.length ?? 0;
  // Each costs so much that together they are as near as possible: for all of them a linear equation.
  const weighted = observed.map(({ counts, micros }) => ({ counts, micros, weight: 1 / Math.max(1, micros) }));
  const sumOf = (of: (one: (typeof weighted)[number]) => number) => weighted.reduce((sum, one) => sum + of(one), 0);
  const at = (counts: readonly number[], index: number) => counts[index] as number;
  const kinds = Array.from({ length: size }, (_, kind) => ({
    wanted: sumOf(({ counts, micros, weight }) => weight * at(counts, kind) * micros),
    with: Array.from({ length: size }, (__, other) => {
      return sumOf(({ counts, weight }) => weight * at(counts, kind) * at(counts, other));
    }),
  }));
  const costs = kinds.map(() => 0);
  // One after the other as it fits best to the others, until none changes.
  for (let round = 0, change = Number.POSITIVE_INFINITY; round < ROUNDS && change > 1e-9; round += 1) {
    change = 0;
    for (const [kind, { wanted, with: others }] of kinds.entries()) {
      const [own, before] = [at(others, kind), at(costs, kind)];
      if (own === 0) continue;
      const missing = others.reduce((left, weight, other) => left - weight * at(costs, other), wanted);
      const after = Math.max(0, before + missing / own);
      change = Math.max(change, Math.abs(after - before) / Math.max(1, after));
      costs[kind] = after;
    }
  }
  return costs;
}
