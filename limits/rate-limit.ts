/** A rate for each client network, and one for all clients together. */

import { networkOf } from './client-network.ts';
import { type LoadTest, LoadTestRate } from './load-test-exemptions.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface RateLimit {
  /** `loadTest`: of an exempt address. 0 when the request is within the limit; otherwise the seconds until a retry, at least 1. */
  take(address: string, loadTest?: LoadTest): number;
  /** Takes effect at once. */
  setRates(rates: Rates): void;
}

/** Per second; 0: no limit. */
export interface Rates {
  /** For all clients together. */
  readonly perSecond: number;
  readonly perSecondPerAddress: number;
}

export interface RateLimitOptions extends Rates {
  /** Milliseconds that only go forward. */
  readonly monotonic: () => number;
  /** 0 up to 1; spreads the retries of clients that were refused together. */
  readonly random: () => number;
}

/** The burst, in seconds of the rate. */
const BURST_SECONDS = 2;

export function createRateLimit({ perSecond, perSecondPerAddress, monotonic, random }: RateLimitOptions): RateLimit {
  const all = new TokenBuckets(withBurst(perSecond));
  const addresses = new TokenBuckets(withBurst(perSecondPerAddress));
  const loadTests = new LoadTestRate(perSecond);
  return {
    setRates: (rates) => {
      all.setRate(withBurst(rates.perSecond));
      addresses.setRate(withBurst(rates.perSecondPerAddress));
      loadTests.setRate(rates.perSecond);
    },
    take: (address, loadTest) => {
      const now = monotonic();
      // The limit of the address is checked first: a client over it must not use up the limit for all.
      const own = loadTest === undefined ? addresses.take(networkOf(address), now) : loadTests.take(loadTest, now);
      const seconds = own || all.take('', now);
      return seconds === 0 ? 0 : Math.ceil(seconds + random() * Math.max(2, seconds));
    },
  };
}

function withBurst(perSecond: number): { readonly perSecond: number; readonly burst: number } {
  return { perSecond, burst: perSecond * BURST_SECONDS };
}
