import { describe, expect, it } from 'vitest';
import { TokenBuckets } from './token-buckets.ts';

describe('a set of token buckets', () => {
  it('allows its burst, then its rate, and never more than its burst', () => {
    const buckets = new TokenBuckets({ perSecond: 5, burst: 10 });
    const taken = (now: number) =>
      Array.from({ length: 50 }, () => buckets.take('a', now)).filter((wait) => wait === 0).length;
    expect([taken(0), taken(1_000), taken(3_600_000)]).toEqual([10, 5, 10]);
  });

  it('states how long until the next token', () => {
    const buckets = new TokenBuckets({ perSecond: 0.1, burst: 1 });
    expect(buckets.take('a', 0)).toBe(0);
    expect(buckets.take('a', 0)).toBeCloseTo(10);
    expect(buckets.take('a', 4_000)).toBeCloseTo(6);
  });

  it('has one bucket for each key', () => {
    const buckets = new TokenBuckets({ perSecond: 1, burst: 1 });
    expect([buckets.take('a', 0), buckets.take('b', 0)]).toEqual([0, 0]);
    expect(buckets.take('a', 0)).toBeGreaterThan(0);
  });

  it('of 0 per second is no limit', () => {
    const buckets = new TokenBuckets({ perSecond: 0, burst: 1 });
    for (let n = 0; n < 1_000; n += 1) expect(buckets.take('a', 0)).toBe(0);
  });

  it('is neither drained nor filled when the clock is set back', () => {
    const buckets = new TokenBuckets({ perSecond: 1, burst: 2 });
    expect([buckets.take('a', 10_000), buckets.take('a', 0)]).toEqual([0, 0]);
    expect(buckets.take('a', 0)).toBeGreaterThan(0);
    expect(buckets.take('a', 1_000)).toBe(0);
  });

  it('drops the least recently used key, so that a flood of keys costs no memory', () => {
    const buckets = new TokenBuckets({ perSecond: 0.001, burst: 1, keys: 3 });
    for (const key of ['a', 'b', 'c']) buckets.take(key, 0);
    buckets.take('a', 1); // seen again, so b is the oldest
    buckets.take('d', 2);
    expect(buckets.take('a', 3)).toBeGreaterThan(0);
    expect(buckets.take('b', 3)).toBe(0);
  });
});
