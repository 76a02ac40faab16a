/**
 * A token bucket per key. One take costs one map lookup, so it can precede every other check. The clock is the caller's.
 */

import { TokenBucket } from './token-bucket.ts';

export interface TokenBucketsOptions {
  /** Tokens that are refilled per second; 0: no limit. */
  readonly perSecond: number;
  /** The capacity of a bucket; at least 1. */
  readonly burst: number;
  /** The number of buckets, 20,000 unless given (about 2 MB). The least recently used one is dropped first. */
  readonly keys?: number;
}

const KEYS = 20_000;

export class TokenBuckets {
  #perSecond: number;
  #burst: number;
  readonly #keys: number;
  readonly #buckets = new Map<string, TokenBucket>();

  constructor({ perSecond, burst, keys = KEYS }: TokenBucketsOptions) {
    this.#perSecond = perSecond;
    this.#burst = Math.max(1, burst);
    this.#keys = keys;
  }

  /** Every key begins with a full bucket of the new rate. Nothing happens if the rate is the same. */
  setRate({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }): void {
    if (perSecond === this.#perSecond && Math.max(1, burst) === this.#burst) return;
    this.#perSecond = perSecond;
    this.#burst = Math.max(1, burst);
    this.#buckets.clear();
  }

  /** Takes one token: 0 when there was one, otherwise the seconds until there is. `now` is in milliseconds. */
  take(key: string, now: number): number {
    return this.#perSecond === 0 ? 0 : this.#bucketOf(key, now).take(now);
  }

  #bucketOf(key: string, now: number): TokenBucket {
    const known = this.#buckets.get(key);
    const bucket = known ?? new TokenBucket({ perSecond: this.#perSecond, burst: this.#burst, now });
    // Removed and inserted again: a Map keeps the order of insertion, so the first key is the least recently used.
    if (known !== undefined) this.#buckets.delete(key);
    else if (this.#buckets.size >= this.#keys) this.#buckets.delete(this.#buckets.keys().next().value as string);
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
