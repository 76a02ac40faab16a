/** What devices, or groups, stored in one day, and which of them are held. Counts at most `MAX_NAMES` and evicts the smallest beyond. */

const MAX_NAMES = 100_000;

/** A held name is released below this part of its share, so that it is not held and released in turns. */
const RELEASE_FACTOR = 0.95;

export interface ShareUsage {
  readonly name: string;
  readonly bytes: number;
  /** Absent in what an earlier version saved. */
  readonly messages?: number;
}

/** What a name stored today. */
export type DayCounts = Required<ShareUsage>;

/** The same, and whether it is held. */
export interface DayUsage extends DayCounts {
  readonly isHeld: boolean;
}

export interface Use {
  bytes: number;
  messages: number;
  isHeld: boolean;
  isReported: boolean;
}

export class ShareLedger {
  readonly limit: number;
  #uses = new Map<string, Use>();
  held = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** True when it is over what is allowed, and was not before. */
  add(name: string, bytes: number, messages: number, allowed: number): boolean {
    const use = this.#uses.get(name) ?? this.#begin(name);
    use.bytes += bytes;
    use.messages += messages;
    if (this.limit === 0 || use.isHeld || use.bytes <= allowed) return false;
    use.isHeld = true;
    this.held += 1;
    return true;
  }

  heldNames(): string[] {
    return this.held === 0 ? [] : [...this.#uses].filter(([, { isHeld }]) => isHeld).map(([name]) => name);
  }

  use(name: string): Use | undefined {
    return this.#uses.get(name);
  }

  /** Decides again for every name. Returns whether any decision changed, and those held that were not reported. */
  decideAgain(allowed: number): { readonly isChanged: boolean; readonly unreported: [string, Use][] } {
    const unreported: [string, Use][] = [];
    let isChanged = false;
    if (this.limit === 0) return { isChanged, unreported };
    for (const entry of this.#uses) {
      const use = entry[1];
      const isHeld = use.bytes > (use.isHeld ? allowed * RELEASE_FACTOR : allowed);
      if (isHeld !== use.isHeld) {
        use.isHeld = isHeld;
        this.held += isHeld ? 1 : -1;
        isChanged = true;
      }
      if (isHeld && !use.isReported) unreported.push(entry);
    }
    return { isChanged, unreported };
  }

  /** Without a sort of all names: most of a hundred thousand are not among the largest. */
  largest(most: number, atLeast = 0, by: 'bytes' | 'messages' = 'bytes'): DayUsage[] {
    const found: DayUsage[] = [];
    for (const [name, use] of this.#uses) {
      const { bytes, messages, isHeld } = use;
      if (bytes <= atLeast || (found.length === most && use[by] <= (found.at(-1)?.[by] ?? 0))) continue;
      const place = firstBelow(found, use[by], by);
      found.splice(place, 0, { name, bytes, messages, isHeld });
      if (found.length > most) found.pop();
    }
    return found;
  }

  clear(saved: readonly ShareUsage[] = []): void {
    this.held = 0;
    this.#uses = new Map(
      saved.map(({ name, bytes, messages = 0 }) => [name, { bytes, messages, isHeld: false, isReported: false }]),
    );
  }

  #begin(name: string): Use {
    if (this.#uses.size >= MAX_NAMES) {
      const sizes = Float64Array.from(this.#uses.values(), ({ bytes }) => bytes).sort();
      const median = sizes[sizes.length >> 1] as number;
      for (const [light, { bytes, isHeld }] of this.#uses) {
        if (bytes <= median && !isHeld) this.#uses.delete(light);
      }
    }
    const use: Use = { bytes: 0, messages: 0, isHeld: false, isReported: false };
    this.#uses.set(name, use);
    return use;
  }
}

/** The index of the first one that is smaller; they descend. */
function firstBelow(found: readonly DayUsage[], value: number, by: 'bytes' | 'messages'): number {
  let [low, high] = [0, found.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((found[middle] as DayUsage)[by] >= value) low = middle + 1;
    else high = middle;
  }
  return low;
}
