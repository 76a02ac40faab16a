/**
 * Token buckets, one for everyone and one per address. Costs two map look-ups and no cryptography, so that it can stand
 * in front of everything. Time is monotonic: a clock that jumps neither opens nor closes the door.
 */

import { isIPv6 } from 'node:net';

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
/** Addresses remembered; about 2 MB. The one not seen for longest is forgotten first. */
const ADDRESSES_MAX = 20_000;

interface Bucket {
  level: number;
  at: number;
}

export function createRateLimit(options: RateLimitOptions): RateLimit {
  const { perSecond, perSecondPerAddress, monotonic, random } = options;
  const everyone: Bucket = { level: burst(perSecond), at: monotonic() };
  const addresses = new Map<string, Bucket>();

  const bucketOf = (network: string, now: number): Bucket => {
    const bucket = addresses.get(network) ?? { level: burst(perSecondPerAddress), at: now };
    // Taken out and put back: a Map keeps the order of insertion, so the first is the oldest.
    addresses.delete(network);
    addresses.set(network, bucket);
    if (addresses.size > ADDRESSES_MAX) addresses.delete(addresses.keys().next().value as string);
    return bucket;
  };

  return {
    take: (address) => {
      const now = monotonic();
      // The address first: one that is over its own share must not use up everyone's.
      if (perSecondPerAddress > 0) {
        const missing = shortage(bucketOf(networkOf(address), now), perSecondPerAddress, now);
        if (missing > 0) return retryAfter(missing, perSecondPerAddress, random);
      }
      if (perSecond > 0) {
        const missing = shortage(everyone, perSecond, now);
        if (missing > 0) return retryAfter(missing, perSecond, random);
      }
      return 0;
    },
  };
}

/** What one household or one machine holds: an IPv4 address, or the /64 of an IPv6 address. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [head = '', tail] = (address.split('%')[0] as string).split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  return [...before, ...Array<string>(zeros).fill('0'), ...after].slice(0, 4).join(':');
}

function burst(perSecond: number): number {
  return Math.max(1, perSecond * BURST_SECONDS);
}

/** Takes one if there is one; otherwise how much is missing to one. */
function shortage(bucket: Bucket, perSecond: number, now: number): number {
  bucket.level = Math.min(burst(perSecond), bucket.level + ((now - bucket.at) / 1000) * perSecond);
  bucket.at = now;
  if (bucket.level < 1) return 1 - bucket.level;
  bucket.level -= 1;
  return 0;
}

function retryAfter(missing: number, perSecond: number, random: () => number): number {
  const seconds = missing / perSecond;
  return Math.ceil(seconds + random() * Math.max(2, seconds));
}
