/**
 * How often somebody may do something: one token bucket per key. Costs one map look-up and no cryptography, so that it can
 * stand in front of everything. Does not know what it limits, and never looks at a clock itself.
 */

export interface TokenBucketOptions {
  /** Tokens that come back per second; 0: no limit. */
  readonly perSecond: number;
  /** How many may be taken at once; at least 1. */
  readonly burst: number;
  /** Keys remembered, 20,000 unless said otherwise (about 2 MB). The one not seen for longest is forgotten first. */
  readonly keys?: number;
}

const KEYS = 20_000;

interface Bucket {
  tokens: number;
  at: number;
}

export class TokenBuckets {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #keys: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor({ perSecond, burst, keys = KEYS }: TokenBucketOptions) {
    this.#perMs = perSecond / 1000;
    this.#burst = Math.max(1, burst);
    this.#keys = keys;
  }

  /** Takes one token: 0 when there was one, otherwise the seconds until there is. `now` is in milliseconds. */
  take(key: string, now: number): number {
    if (this.#perMs === 0) return 0;
    const bucket = this.#bucketOf(key, now);
    // A clock that was set back must neither drain nor fill a bucket.
    bucket.tokens = Math.min(this.#burst, bucket.tokens + Math.max(0, now - bucket.at) * this.#perMs);
    bucket.at = now;
    if (bucket.tokens < 1) return (1 - bucket.tokens) / this.#perMs / 1000;
    bucket.tokens -= 1;
    return 0;
  }

  #bucketOf(key: string, now: number): Bucket {
    const known = this.#buckets.get(key);
    const bucket = known ?? { tokens: this.#burst, at: now };
    // Taken out and put back: a Map keeps the order of insertion, so the first is the one not seen for longest.
    if (known !== undefined) this.#buckets.delete(key);
    else if (this.#buckets.size >= this.#keys) this.#buckets.delete(this.#buckets.keys().next().value as string);
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
