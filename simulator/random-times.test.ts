import { describe, expect, it } from 'vitest';
import { firstMessageAt, nextMessageAt, randomWalk, seededRandom } from './random-times.ts';

describe('a fleet of 1,000 devices', () => {
  it('spreads its first messages over one period, without a crowd', () => {
    const random = seededRandom(1);
    const tenths = new Array<number>(10).fill(0);
    for (let index = 0; index < 1_000; index += 1) {
      const at = firstMessageAt(index, 1_000, 10_000, random);
      const tenth = Math.floor(at / 1_000);
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    expect(tenths).toEqual(new Array(10).fill(100));
  });
});

describe('the beat of a device', () => {
  it('does not drift when timers come late', () => {
    expect(nextMessageAt(1_000, 100, 1_030)).toBe(1_100);
  });

  it('skips what it missed instead of catching up', () => {
    expect(nextMessageAt(1_000, 100, 5_050)).toBe(5_100);
    expect(nextMessageAt(1_000, 100, 5_100)).toBeGreaterThanOrEqual(5_100);
  });
});

describe('random numbers with a seed', () => {
  it('are the same each time, and lie in [0, 1)', () => {
    const [a, b, c] = [seededRandom(7), seededRandom(7), seededRandom(8)];
    const numbers = Array.from({ length: 1_000 }, a);
    expect(Array.from({ length: 1_000 }, b)).toEqual(numbers);
    expect(Array.from({ length: 1_000 }, c)).not.toEqual(numbers);
    expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
    expect(numbers.reduce((sum, number) => sum + number, 0) / 1_000).toBeCloseTo(0.5, 1);
  });
});

describe('a measured value', () => {
  it('wanders in small steps and stays near its middle', () => {
    const measure = randomWalk(seededRandom(3), 20, 0.5);
    let last = measure();
    for (let step = 0; step < 10_000; step += 1) {
      const value = measure();
      expect(Math.abs(value - last)).toBeLessThan(1);
      expect(Math.abs(value - 20)).toBeLessThan(20);
      last = value;
    }
  });
});
