import { expect, it } from 'vitest';
import { seededRandom } from './seeded-random.ts';

it('random numbers with one seed are the same each time, and lie in [0, 1)', () => {
  const [a, b, c] = [seededRandom(7), seededRandom(7), seededRandom(8)];
  const numbers = Array.from({ length: 1_000 }, a);
  expect(Array.from({ length: 1_000 }, b)).toEqual(numbers);
  expect(Array.from({ length: 1_000 }, c)).not.toEqual(numbers);
  expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
  expect(numbers.reduce((sum, number) => sum + number, 0) / 1_000).toBeCloseTo(0.5, 1);
});
