/**
 * Counters of the enroll server. A key is a name, or a name and one label: `enroll_refused_total/code=token_rejected`. No part
 * of a key comes from a request, so their number is bounded.
 */

const UNLABELLED = [
  'enrollments_total',
  'renewals_total',
  'enroll_waiting_abandoned_total',
  'enroll_overloaded_total',
] as const;

export type CounterKey =
  | (typeof UNLABELLED)[number]
  | `enroll_refused_total/code=${string}`
  | `enroll_connections_refused_total/reason=${string}`;

export class Counters {
  readonly #counts: Record<string, number> = Object.fromEntries(UNLABELLED.map((key) => [key, 0]));

  add(key: CounterKey): void {
    this.#counts[key] = (this.#counts[key] ?? 0) + 1;
  }

  snapshot(): Readonly<Record<string, number>> {
    return { ...this.#counts };
  }
}
