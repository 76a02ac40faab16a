import { describe, expect, it } from 'vitest';
import { addressKey, TokenBuckets } from './rate-limit.ts';

describe('a token bucket', () => {
  it('allows a burst, then the rate', () => {
    const buckets = new TokenBuckets(10, 3);
    expect([1, 2, 3, 4].map(() => buckets.take('a', 1_000))).toEqual([true, true, true, false]);
    expect(buckets.take('a', 1_099)).toBe(false);
    expect(buckets.take('a', 1_200)).toBe(true);
  });

  it('of one key does not concern another', () => {
    const buckets = new TokenBuckets(1, 1);
    expect(buckets.take('a', 0)).toBe(true);
    expect(buckets.take('a', 0)).toBe(false);
    expect(buckets.take('b', 0)).toBe(true);
  });

  it('allows everything when there is no rate', () => {
    const buckets = new TokenBuckets(0, 1);
    for (let i = 0; i < 100; i += 1) expect(buckets.take('a', 0)).toBe(true);
    expect(buckets.size).toBe(0);
  });

  it('neither fills nor empties when the clock is set back', () => {
    const buckets = new TokenBuckets(1, 2);
    buckets.take('a', 1_000_000);
    buckets.take('a', 1_000_000);
    expect(buckets.take('a', 0)).toBe(false);
    expect(buckets.take('a', 1_000)).toBe(true);
    expect(buckets.take('a', 1_000)).toBe(false);
  });

  it('is forgotten once it is full again', () => {
    const buckets = new TokenBuckets(1, 2);
    buckets.take('a', 0);
    buckets.sweep(999);
    expect(buckets.size).toBe(1);
    buckets.sweep(1_000);
    expect(buckets.size).toBe(0);
  });

  it('is forgotten when a hundred thousand others came after it', () => {
    const buckets = new TokenBuckets(1, 1);
    buckets.take('first', 0);
    for (let i = 0; i < 100_000; i += 1) buckets.take(`key ${i}`, 0);
    expect(buckets.size).toBe(100_000);
    expect(buckets.take('first', 0)).toBe(true);
  });
});

describe('the key of an address', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::9', '2001:db8:1:2'],
    ['2001:db8::9', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
  ])('%s is %s', (address, key) => {
    expect(addressKey(address)).toBe(key);
  });
});
