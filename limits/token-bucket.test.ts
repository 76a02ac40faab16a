import { describe, expect, it } from 'vitest';
import { TokenBucket } from './token-bucket.ts';

describe('a token bucket', () => {
  it('allows its burst at once and then its rate', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 2, now: 0 });
    expect([bucket.take(0), bucket.take(0)]).toEqual([0, 0]);
    expect(bucket.take(0)).toBeCloseTo(0.1);
    expect(bucket.take(100)).toBe(0);
  });

  it('records missing tokens, which later ones repay', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 20, now: 0 });
    expect(bucket.spend(20)).toBe(true);
    expect(bucket.spend(5)).toBe(false);
    expect(bucket.secondsShort).toBeCloseTo(0.5);
    bucket.refill(600);
    expect(bucket.secondsShort).toBeCloseTo(-0.1);
  });

  it('without a rate is no limit', () => {
    const bucket = new TokenBucket({ perSecond: 0, burst: 0, now: 0 });
    expect([bucket.spend(1_000), bucket.take(0), bucket.secondsShort]).toEqual([true, 0, 0]);
  });

  it('neither fills nor drains when the clock is set back', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 1, now: 1_000 });
    expect(bucket.take(1_000)).toBe(0);
    expect(bucket.take(0)).toBeCloseTo(0.1);
    expect(bucket.take(100)).toBe(0);
  });
});
