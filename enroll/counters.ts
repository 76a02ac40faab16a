/**
 * What the enroll server did, counted for its operators. A key is a metric's name, or a name and one label:
 * `enroll_refused_total/code=token_rejected`. Keys come from our own words only, so their number is bounded.
 */

export class Counters {
  readonly #counts: Record<string, number> = Object.create(null);

  add(key: string): void {
    this.#counts[key] = (this.#counts[key] ?? 0) + 1;
  }

  snapshot(): Readonly<Record<string, number>> {
    return { ...this.#counts };
  }
}
