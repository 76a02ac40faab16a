/**
 * A token bucket per key. One take costs one map lookup, so it can precede every other check. The clock is the caller's.
 */

export interface TokenBucketOptions {
  /** Tokens that are refilled per second; 0: no limit. */
  readonly perSecond: number;
  /** The capacity of a bucket; at least 1. */
  readonly burst: number;
  /** The number of buckets, 20,000 unless given (about 2 MB). The least recently used one is dropped first. */
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
    // A clock that was set back neither drains nor fills a bucket.
    bucket.tokens = Math.min(this.#burst, bucket.tokens + Math.max(0, now - bucket.at) * this.#perMs);
    bucket.at = now;
    if (bucket.tokens < 1) return (1 - bucket.tokens) / this.#perMs / 1000;
    bucket.tokens -= 1;
    return 0;
  }

  #bucketOf(key: string, now: number): Bucket {
    const known = this.#buckets.get(key);
    const bucket = known ?? { tokens: this.#burst, at: now };
    // Deleted and inserted again: a Map keeps the order of insertion, so its first key is the least recently used.
    if (known !== undefined) this.#buckets.delete(key);
    else if (this.#buckets.size >= this.#keys) this.#buckets.delete(this.#buckets.keys().next().value as string);
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
