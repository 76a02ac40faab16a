import { describe, expect, it } from 'vitest';
import type { Counts } from './counts.ts';
import { CountHistory } from './history.ts';

const START = 1_700_000_000_000;
const NOTHING: Counts = {
  at: START,
  connected: 0,
  connects: 0,
  received: 0,
  stored: 0,
  sent: 0,
  dropped: 0,
  refused: { connections: 0, enrollments: 0, topics: 0 },
  busySeconds: { main: 0 },
  commits: { count: 0, seconds: 0 },
  queuedBytes: 0,
};

/** A history whose reading the test sets. `after`: seconds since the start. */
function historyOf() {
  let counts = NOTHING;
  const history = new CountHistory(() => counts);
  const set = (after: number, next: Partial<Counts> = {}) => {
    counts = { ...counts, ...next, at: START + after * 1000 };
  };
  return {
    history,
    set,
    sample: (after: number, next: Partial<Counts> = {}) => {
      set(after, next);
      history.sample();
    },
  };
}

describe('the history of counts', () => {
  it('has the rates between samples, gauges as they were, the load of the busiest thread, and no time of a commit where there was none', () => {
    const { history, sample } = historyOf();
    sample(15, {
      connected: 3,
      stored: 30,
      refused: { connections: 15, enrollments: 0, topics: 0 },
      busySeconds: { main: 3, w1: 6 },
    });
    sample(30, { connected: 2, commits: { count: 4, seconds: 0.1 }, queuedBytes: 7, busySeconds: { main: 3, w1: 6 } });
    expect(history.series(START)).toMatchObject({
      at: [START / 1000 + 15, START / 1000 + 30],
      connected: [3, 2],
      stored: [2, 0],
      refusedConnections: [1, 0],
      queuedBytes: [0, 7],
      commitMs: [null, 25],
      busy: [0.4, 0],
    });
  });

  it('leaves out what was before the time that is asked for', () => {
    const { history, sample } = historyOf();
    for (const after of [15, 30, 45, 60]) sample(after);
    expect(history.series(START + 45_000).at).toEqual([45, 60].map((after) => START / 1000 + after));
  });

  it('holds six hours, and answers with at most 360 points, whose rates are means and whose queues are the largest', () => {
    const { history, sample } = historyOf();
    for (let i = 1; i <= 2_000; i += 1) sample(i * 15, { stored: i * 30, queuedBytes: i === 1_999 ? 9 : 0 });
    const { at, stored, queuedBytes } = history.series(START);
    expect(at.length).toBe(360);
    expect([at[0], at.at(-1)]).toEqual([(START + (2_000 - 359 * 4) * 15_000) / 1000, (START + 30_000_000) / 1000]);
    expect(new Set(stored)).toEqual(new Set([2]));
    expect(queuedBytes.at(-1)).toBe(9);
  });

  it('ascends also when the clock of the system was set back', () => {
    const { history, sample } = historyOf();
    for (const after of [15, 30, 45, 20, 35]) sample(after);
    expect(history.series(START).at).toEqual([15, 20, 35].map((after) => START / 1000 + after));
  });
});

describe('the numbers of this moment', () => {
  it('are rates since a sample that is ten seconds old at least', () => {
    const { history, set, sample } = historyOf();
    sample(15, { received: 100 });
    sample(30, { received: 100 });
    set(32, { received: 134, commits: { count: 1, seconds: 0.004 } });
    expect(history.recent()).toMatchObject({ rates: { received: 2 }, commitMs: 4 });
  });

  it('count what was refused since a time, or since the start', () => {
    const { history, set, sample } = historyOf();
    sample(15, { refused: { connections: 5, enrollments: 1, topics: 0 } });
    set(20, { refused: { connections: 9, enrollments: 1, topics: 2 } });
    const { counts } = history.recent();
    expect(history.refusedSince(START - 9, counts)).toEqual({ connections: 9, enrollments: 1, topics: 2 });
    expect(history.refusedSince(START + 15_000, counts)).toEqual({ connections: 4, enrollments: 0, topics: 2 });
  });
});
