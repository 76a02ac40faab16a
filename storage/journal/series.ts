import { Problem } from '@rollcall/protocol';
import type { Series, SeriesPoint, SeriesQuery } from './message.ts';

const MAX_POINTS = 10_000;
const LONGEST_POINTER = 1024;

/** Throws Problem `request_invalid`. */
export function checkSeries({ since, until, bucket, pointer }: SeriesQuery): void {
  const points = (until - since) / bucket;
  if (!(until > since)) throw invalid('expected a range that ends after it begins');
  if (!Number.isInteger(bucket) || bucket < 1 || !(points <= MAX_POINTS)) {
    throw invalid(`expected at most ${MAX_POINTS} points, found ${Math.ceil(points)}: ask for longer ones`);
  }
  pointerParts(pointer);
}

/** What crosses between threads and is added up: sums of one bucket. */
interface Sum {
  count: number;
  min: number;
  max: number;
  sum: number;
  last: number;
}

export interface PartialSeries {
  /** By number of the bucket, counted from the epoch. */
  readonly sums: ReadonlyMap<number, Sum>;
  readonly ignored: number;
}

export class SeriesSums {
  readonly #parts: readonly string[];
  readonly #bucket: number;
  readonly #sums = new Map<number, Sum>();
  #ignored = 0;

  constructor(query: Pick<SeriesQuery, 'pointer' | 'bucket'>) {
    this.#parts = pointerParts(query.pointer);
    this.#bucket = query.bucket;
  }

  /** Messages come in the order of their positions. */
  add(receivedAt: number, payload: Uint8Array): void {
    const value = numberIn(payload, this.#parts);
    if (value === undefined) {
      this.#ignored += 1;
      return;
    }
    this.#merge(Math.floor(receivedAt / this.#bucket), { count: 1, min: value, max: value, sum: value, last: value });
  }

  /** Adds what another one gathered of later messages. */
  addAll({ sums, ignored }: PartialSeries): void {
    this.#ignored += ignored;
    for (const [number, sum] of sums) this.#merge(number, { ...sum });
  }

  get partial(): PartialSeries {
    return { sums: this.#sums, ignored: this.#ignored };
  }

  result(): Series {
    const numbers = [...this.#sums.keys()].sort((one, other) => one - other);
    const points = numbers.map((number): SeriesPoint => {
      const { count, min, max, sum, last } = this.#sums.get(number) as Sum;
      return { at: number * this.#bucket, count, min, max, avg: sum / count, last };
    });
    return { points, ignored: this.#ignored };
  }

  #merge(number: number, added: Sum): void {
    const sum = this.#sums.get(number);
    if (sum === undefined) {
      this.#sums.set(number, added);
      return;
    }
    sum.count += added.count;
    sum.min = Math.min(sum.min, added.min);
    sum.max = Math.max(sum.max, added.max);
    sum.sum += added.sum;
    sum.last = added.last;
  }
}

function numberIn(payload: Uint8Array, parts: readonly string[]): number | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8'));
  } catch {
    return undefined;
  }
  for (const part of parts) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** RFC 6901, sections 3 and 4. */
function pointerParts(pointer: string): readonly string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/') || pointer.length > LONGEST_POINTER || /~(?![01])/.test(pointer)) {
    throw invalid('expected a JSON Pointer such as /celsius, found another text');
  }
  return [...pointer.matchAll(/\/([^/]*)/g)].map(([, part]) =>
    (part as string).replaceAll('~1', '/').replaceAll('~0', '~'),
  );
}

function invalid(detail: string): Problem {
  return new Problem('request_invalid', { detail });
}
