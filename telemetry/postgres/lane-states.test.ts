import { expect, it } from 'vitest';
import { dayParts } from './lane-states.ts';

const ALL = { after: 0, upTo: 1000 };
const of = (...days: readonly (readonly [day: number, first: number, last: number])[]) => ({
  days: days.map(([day, first, last]) => ({ day, first, last })),
});

it('days are read some at a time, from the oldest or from the newest', () => {
  const lane = of([1, 1, 10], [2, 11, 20], [3, 21, 30], [4, 31, 40], [5, 41, 50], [6, 51, 60]);
  expect(dayParts(lane, ALL, 'oldest first')).toEqual([
    [1, 2, 3, 4],
    [5, 6],
  ]);
  expect(dayParts(lane, ALL, 'newest first')).toEqual([
    [5, 6],
    [1, 2, 3, 4],
  ]);
});

it('days without a message of the range are left out', () => {
  const lane = of([1, 1, 10], [2, 11, 20], [3, 21, 30]);
  expect(dayParts(lane, { after: 10, upTo: 20 }, 'oldest first')).toEqual([[2]]);
  expect(dayParts(lane, { after: 15, upTo: 21 }, 'oldest first')).toEqual([[2, 3]]);
  expect(dayParts(lane, { after: 30, upTo: 99 }, 'oldest first')).toEqual([]);
});

it('days that overlap because a clock went back are read together, so that messages come in the order of the lane', () => {
  const lane = of([1, 1, 10], [2, 11, 20], [9, 21, 30], [3, 31, 35], [4, 5, 90], [5, 91, 95]);
  expect(dayParts(lane, ALL, 'oldest first')).toEqual([[1, 2, 9, 3, 4], [5]]);
});
