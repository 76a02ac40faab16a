import { describe, expect, it } from 'vitest';
import { backoffDelay, DEFAULT_BACKOFF, retryAfterDelay } from './backoff.ts';

const latest = () => 1 - Number.EPSILON;
const earliest = () => 0;

describe('the wait before the next try', () => {
  it('is drawn from zero to a bound that doubles, up to a cap', () => {
    const bounds = [0, 1, 2, 6, 7, 1_000].map((earlier) => backoffDelay({ kind: 'lost', earlier }, latest));
    expect(bounds).toEqual([999, 1_999, 3_999, 63_999, 119_999, 119_999]);
    expect(backoffDelay({ kind: 'lost', earlier: 9 }, earliest)).toBe(0);
  });

  it('after a refusal is never short', () => {
    for (const earlier of [0, 3, 20]) {
      expect(backoffDelay({ kind: 'refused', earlier }, earliest)).toBe(DEFAULT_BACKOFF.refusalFloor);
    }
    expect(backoffDelay({ kind: 'refused', earlier: 0 }, latest)).toBe(59_999);
    expect(backoffDelay({ kind: 'refused', earlier: 20 }, latest)).toBe(149_999);
  });
});

describe('a wait that the server named', () => {
  it('is never cut short, and spreads those who were told the same', () => {
    expect(retryAfterDelay(10, earliest)).toBe(10_000);
    expect(retryAfterDelay(10, latest)).toBe(15_000);
    expect(retryAfterDelay(0, latest)).toBe(1_000);
  });
});
