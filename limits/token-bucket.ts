/** One token bucket: tokens return at a constant rate, up to a burst. The caller passes the time, in milliseconds. */

export interface TokenBucketOptions {
  /** Tokens that return per second; 0: no limit. */
  readonly perSecond: number;
  /** Tokens of a full bucket. */
  readonly burst: number;
  /** The time at which the bucket is full. */
  readonly now: number;
}

export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  constructor({ perSecond, burst, now }: TokenBucketOptions) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  /** Seconds until the tokens that are missing have returned; at most 0 when none is missing. */
  get secondsShort(): number {
    return this.#perMs === 0 ? 0 : -this.#tokens / this.#perMs / 1000;
  }

  refill(now: number): void {
    // A clock that was set back neither drains nor fills a bucket.
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, now - this.#at) * this.#perMs);
    this.#at = now;
  }

  /** Takes one token if there is one. Returns 0 then, otherwise the seconds until there is one. */
  take(now: number): number {
    if (this.#perMs === 0) return 0;
    this.refill(now);
    if (this.#tokens < 1) return (1 - this.#tokens) / this.#perMs / 1000;
    this.#tokens -= 1;
    return 0;
  }

  /** Takes tokens without a refill, even if some are missing then. False: some are missing. */
  spend(tokens: number): boolean {
    this.#tokens -= tokens;
    return this.#perMs === 0 || this.#tokens >= 0;
  }
}
