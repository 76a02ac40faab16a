/** A rate for each client network, and one for all clients together. */

import { networkOf } from './client-network.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface RateLimit {
  /** 0 when the address may go on; otherwise the seconds after which a new try makes sense, at least 1. */
  take(address: string): number;
}

export interface RateLimitOptions {
  /** Per second, for everyone together; 0 for no limit. */
  readonly perSecond: number;
  readonly perSecondPerAddress: number;
  /** Milliseconds that only go forward. */
  readonly monotonic: () => number;
  /** 0 up to 1; spreads the tries of those who were sent away together. */
  readonly random: () => number;
}

/** So many seconds' worth may come at once. */
const BURST_SECONDS = 2;

export function createRateLimit({ perSecond, perSecondPerAddress, monotonic, random }: RateLimitOptions): RateLimit {
  const everyone = new TokenBuckets({ perSecond, burst: perSecond * BURST_SECONDS });
  const addresses = new TokenBuckets({
    perSecond: perSecondPerAddress,
    burst: perSecondPerAddress * BURST_SECONDS,
  });
  return {
    take: (address) => {
      const now = monotonic();
      // The address first: one that is over its own share must not use up everyone's.
      const seconds = addresses.take(networkOf(address), now) || everyone.take('', now);
      return seconds === 0 ? 0 : Math.ceil(seconds + random() * Math.max(2, seconds));
    },
  };
}
