/** The sequence numbers that were received, as ranges: those of one device are nearly always one range. */

export class SequenceSet {
  /** First and last of each range, ascending; ranges neither touch nor overlap. */
  readonly #bounds: number[] = [];
  #size = 0;

  static fromRanges(ranges: readonly number[]): SequenceSet {
    const set = new SequenceSet();
    set.#bounds.push(...ranges);
    for (let at = 0; at < ranges.length; at += 2) set.#size += (ranges[at + 1] as number) - (ranges[at] as number) + 1;
    return set;
  }

  /** From ranges by key, of several shards. */
  static byKey(reports: readonly Readonly<Record<string, readonly number[]>>[]): ReadonlyMap<string, SequenceSet> {
    const entries = reports.flatMap((report) => Object.entries(report));
    return new Map(entries.map(([key, ranges]) => [key, SequenceSet.fromRanges(ranges)]));
  }

  get size(): number {
    return this.#size;
  }

  get last(): number | undefined {
    return this.#bounds.at(-1);
  }

  /** `[first, last, first, last, ...]`. */
  get ranges(): readonly number[] {
    return this.#bounds;
  }

  /** False when it was there already. */
  add(sequence: number): boolean {
    const bounds = this.#bounds;
    let at = bounds.length;
    while (at > 0 && sequence < (bounds[at - 2] as number)) at -= 2; // nearly always none
    const before = at - 2;
    if (before >= 0 && sequence <= (bounds[before + 1] as number)) return false;
    const touchesBefore = before >= 0 && (bounds[before + 1] as number) === sequence - 1;
    const touchesAfter = at < bounds.length && (bounds[at] as number) === sequence + 1;
    if (touchesBefore && touchesAfter) {
      bounds[before + 1] = bounds[at + 1] as number;
      bounds.splice(at, 2);
    } else if (touchesBefore) bounds[before + 1] = sequence;
    else if (touchesAfter) bounds[at] = sequence;
    else bounds.splice(at, 0, sequence, sequence);
    this.#size += 1;
    return true;
  }

  has(sequence: number): boolean {
    for (let at = this.#bounds.length - 2; at >= 0; at -= 2) {
      if (sequence > (this.#bounds[at + 1] as number)) return false;
      if (sequence >= (this.#bounds[at] as number)) return true;
    }
    return false;
  }

  /** How many of these are not in `other`. */
  missingIn(other: SequenceSet | undefined): number {
    if (other === undefined) return this.#size;
    const theirs = other.#bounds;
    let missing = 0;
    let at = 0;
    for (let mine = 0; mine < this.#bounds.length; mine += 2) {
      let next = this.#bounds[mine] as number;
      const last = this.#bounds[mine + 1] as number;
      while (at < theirs.length && (theirs[at + 1] as number) < next) at += 2;
      for (let look = at; next <= last; look += 2) {
        if (look >= theirs.length || (theirs[look] as number) > last) {
          missing += last - next + 1;
          break;
        }
        missing += Math.max(0, (theirs[look] as number) - next);
        next = Math.max(next, (theirs[look + 1] as number) + 1);
      }
    }
    return missing;
  }
}
