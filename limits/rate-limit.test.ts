import { describe, expect, it } from 'vitest';
import { createRateLimit } from './rate-limit.ts';

function limit(options: { perSecond?: number; perSecondPerAddress?: number; random?: () => number }) {
  const clock = { now: 0 };
  const rate = createRateLimit({
    perSecond: options.perSecond ?? 0,
    perSecondPerAddress: options.perSecondPerAddress ?? 0,
    monotonic: () => clock.now,
    random: options.random ?? (() => 0),
  });
  const admitted = (address: string, tries: number) =>
    Array.from({ length: tries }, () => rate.take(address)).filter((wait) => wait === 0).length;
  return { clock, rate, admitted };
}

describe('a rate limit', () => {
  it('allows a burst of two seconds, then its rate', () => {
    const { clock, admitted } = limit({ perSecondPerAddress: 5 });
    expect(admitted('192.0.2.1', 50)).toBe(10);
    clock.now += 1_000;
    expect(admitted('192.0.2.1', 50)).toBe(5);
    clock.now += 3_600_000;
    expect(admitted('192.0.2.1', 50)).toBe(10);
  });

  it('applies to each address and to all addresses together', () => {
    const { admitted } = limit({ perSecond: 10, perSecondPerAddress: 5 });
    expect([admitted('192.0.2.1', 50), admitted('192.0.2.2', 50), admitted('192.0.2.3', 50)]).toEqual([10, 10, 0]);
  });

  it('does not let one address use up the limit for all', () => {
    const { admitted } = limit({ perSecond: 20, perSecondPerAddress: 1 });
    admitted('192.0.2.1', 1_000);
    expect(admitted('192.0.2.2', 10)).toBe(2);
  });

  it('of 0 is no limit', () => {
    expect(limit({}).admitted('192.0.2.1', 10_000)).toBe(10_000);
  });

  it('states when to retry, at random', () => {
    const early = limit({ perSecondPerAddress: 0.1 });
    early.admitted('a', 1);
    expect(early.rate.take('a')).toBe(10);
    const late = limit({ perSecondPerAddress: 0.1, random: () => 0.999 });
    late.admitted('a', 1);
    expect(late.rate.take('a')).toBe(20);
  });

  it('treats the addresses of one IPv6 network as one client', () => {
    const { admitted } = limit({ perSecondPerAddress: 1 });
    expect(admitted('2001:db8:1:2::1', 2)).toBe(2);
    expect(admitted('2001:db8:1:2:ffff::9', 2)).toBe(0);
    expect(admitted('2001:db8:1:3::1', 2)).toBe(2);
  });
});
