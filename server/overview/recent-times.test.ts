import { expect, it } from 'vitest';
import { RecentTimes } from './recent-times.ts';

it('the percentile of recent times is of the last two periods, and of nothing is undefined', () => {
  const times = new RecentTimes();
  expect(times.percentile(99)).toBeUndefined();
  for (let ms = 1; ms <= 100; ms += 1) times.record(ms);
  expect(times.percentile(99)).toBeCloseTo(99, 0);
  times.rotate();
  times.record(500);
  expect(times.percentile(100)).toBeCloseTo(500, -1);
  expect(times.percentile(50)).toBeCloseTo(51, 0);
  times.rotate();
  expect(times.percentile(50)).toBeCloseTo(500, -1);
  times.rotate();
  expect(times.percentile(99)).toBeUndefined();
});
