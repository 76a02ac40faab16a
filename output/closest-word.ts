/** Longer words are no spelling of an option or name, and would cost more to compare. */
const WORD_MAX = 64;
/** A word may differ in this part of its letters, and in three at most. */
const DIFFERENT_MAX = 0.4;

/** The candidate that somebody probably meant by a misspelt word, or undefined. Upper and lower case count as equal. */
export function closestWord(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length > WORD_MAX) return undefined;
  let closest: { readonly candidate: string; readonly distance: number } | undefined;
  for (const candidate of candidates) {
    const allowed = Math.min(3, Math.floor(Math.max(word.length, candidate.length) * DIFFERENT_MAX));
    if (Math.abs(word.length - candidate.length) > allowed) continue;
    const distance = differences(word.toLowerCase(), candidate.toLowerCase());
    if (distance <= allowed && (closest === undefined || distance < closest.distance))
      closest = { candidate, distance };
  }
  return closest?.candidate;
}

/** Letters that are missing, added, replaced or exchanged with their neighbour (Damerau-Levenshtein, optimal alignment). */
function differences(a: string, b: string): number {
  let [before, last] = [[] as number[], Array.from({ length: b.length + 1 }, (_, index) => index)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(at(last, j) + 1, at(row, j - 1) + 1, replaced);
      const isExchanged = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isExchanged) row[j] = Math.min(at(row, j), at(before, j - 2) + 1);
    }
    [before, last] = [last, row];
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
