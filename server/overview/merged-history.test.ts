import { expect, it } from 'vitest';
import type { ServerHistory } from '../../console/index.ts';
import { mergedHistory } from './merged-history.ts';

/** Points of one value each, in all series. */
function history(points: readonly (readonly [at: number, value: number])[]): ServerHistory {
  const values = points.map(([, value]) => value);
  return {
    at: points.map(([at]) => at),
    ...{ connected: values, received: values, stored: values, sent: values, queuedBytes: values },
    ...{ refusedConnections: values, refusedEnrollments: values, refusedTopics: values },
    commitMs: values.map((value) => (value === 0 ? null : value)),
    busy: values.map((value) => value / 100),
  };
}

it('histories of nodes are added at the times of the longest, and times of commits and loads are those of the worst', () => {
  const longest = history([
    [15, 1],
    [30, 2],
    [45, 3],
    [60, 0],
  ]);
  const later = history([
    [31, 10],
    [46, 10],
    [61, 0],
  ]);
  const merged = mergedHistory([later, longest], 0);
  expect(merged.at).toEqual([15, 30, 45, 60]);
  expect(merged.connected).toEqual([1, 12, 13, 0]);
  expect(merged.commitMs).toEqual([1, 10, 10, null]);
  expect(merged.busy).toEqual([0.01, 0.1, 0.1, 0]);
});

it('a node that did not run at a time adds nothing there', () => {
  const all = [
    history([
      [15, 1],
      [30, 1],
      [45, 1],
      [60, 1],
    ]),
    history([[60, 5]]),
  ];
  expect(mergedHistory(all, 0).connected).toEqual([1, 1, 6, 6]);
});

it('points before the time that is asked for are left out, and nothing at all is no point', () => {
  const two = history([
    [15, 1],
    [30, 2],
  ]);
  expect(mergedHistory([two, history([])], 20_000)).toMatchObject({ at: [30], connected: [2] });
  expect(mergedHistory([history([]), history([])], 0).at).toEqual([]);
});
