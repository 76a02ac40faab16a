/** Token buckets by key, for addresses. Does not know what it limits. */

interface Bucket {
  tokens: number;
  at: number;
}

/** More keys than this are not remembered: the oldest is forgotten, and its owner starts with a full bucket. */
const KEYS_MAX = 100_000;

export class TokenBuckets {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #buckets = new Map<string, Bucket>();

  /** `perSecond` 0: everything is allowed. `burst` is how many may come at once. */
  constructor(perSecond: number, burst: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = Math.max(1, burst);
  }

  take(key: string, now: number): boolean {
    if (this.#perMs === 0) return true;
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= KEYS_MAX) this.#forgetOldest();
      this.#buckets.set(key, { tokens: this.#burst - 1, at: now });
      return true;
    }
    // A clock that was set back must not drain or fill a bucket.
    const elapsed = Math.max(0, now - bucket.at);
    bucket.tokens = Math.min(this.#burst, bucket.tokens + elapsed * this.#perMs);
    bucket.at = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  /** Forgets whoever has a full bucket again. */
  sweep(now: number): void {
    for (const [key, bucket] of this.#buckets) {
      if (bucket.tokens + Math.max(0, now - bucket.at) * this.#perMs >= this.#burst) this.#buckets.delete(key);
    }
  }

  get size(): number {
    return this.#buckets.size;
  }

  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}

/** What a limit per address counts: an IPv4 address, or the /64 of an IPv6 one, since a host owns all of that. */
export function addressKey(address: string): string {
  if (!address.includes(':')) return address;
  if (address.startsWith('::ffff:') && address.includes('.')) return address.slice(7);
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const rest = tail === '' ? [] : tail.split(':');
    while (groups.length + rest.length < 8) groups.push('0');
    groups.push(...rest);
  }
  return groups.slice(0, 4).join(':');
}
