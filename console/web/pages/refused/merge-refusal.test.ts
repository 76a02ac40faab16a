import { expect, it } from 'vitest';
import { type LiveRefusal, type RefusalList, withRefusal } from './merge-refusal.ts';

const EMPTY: RefusalList = {
  serverTime: '2030-01-01T00:00:00.000Z',
  since: '2029-12-31T23:00:00.000Z',
  until: '2030-01-01T00:00:00.000Z',
  readSince: '2029-12-31T23:00:00.000Z',
  groups: [],
  moreGroups: 0,
  buckets: { seconds: 30, at: [1_893_455_970], connection: [2], enrollment: [0], renewal: [0], topic: [0] },
};

function refusal(key: string, at: string, more: Partial<LiveRefusal> = {}): LiveRefusal {
  return {
    ...{ key, kind: 'connection', code: 'revoked', party: { kind: 'device', name: key }, leftOut: 0 },
    ...{ sentence: 'revoked', remedy: 'nothing', at, address: '192.0.2.7' },
    ...more,
  };
}

it('a refusal begins a group or adds to its group, which becomes the first', () => {
  const first = withRefusal(EMPTY, refusal('a', '2030-01-01T00:00:01.000Z'));
  const second = withRefusal(first, refusal('b', '2030-01-01T00:00:02.000Z'));
  const third = withRefusal(second, refusal('a', '2030-01-01T00:00:03.000Z', { address: '192.0.2.8', leftOut: 4 }));
  expect(third.groups).toMatchObject([
    {
      ...{ key: 'a', count: 2, isAtLeast: true, firstAt: '2030-01-01T00:00:01.000Z' },
      ...{ lastAt: '2030-01-01T00:00:03.000Z', addresses: ['192.0.2.8', '192.0.2.7'] },
    },
    { key: 'b', count: 1, isAtLeast: false },
  ]);
});

it('a refusal is counted in the bucket of its time, and buckets up to it are added', () => {
  const later = withRefusal(EMPTY, refusal('a', '2030-01-01T00:01:05.000Z', { leftOut: 2 }));
  expect(later.buckets).toMatchObject({
    at: [1_893_455_970, 1_893_456_000, 1_893_456_030, 1_893_456_060],
    connection: [2, 0, 0, 3],
    topic: [0, 0, 0, 0],
  });
  expect(EMPTY.buckets.at).toHaveLength(1);
});
