import { expect, it } from 'vitest';
import type { NodeFigures } from '../../console/index.ts';
import { sumOfFigures } from './sum-figures.ts';

const IDLE: NodeFigures = {
  startedAt: 0,
  isReady: true,
  sessions: { connected: 2, pending: 1, persistent: 3 },
  perSecond: { connects: 1, received: 10, stored: 8, sent: 4, dropped: 0, refused: 0.5, busy: 0.2 },
  totals: { connects: 5, received: 50, stored: 40, sent: 20, dropped: 0 },
  refused: { connections: 1, enrollments: 2, topics: 3 },
  refusedLastHour: { connections: 1, enrollments: 0, topics: 0 },
  refusals: [],
  clonesSuspected: 0,
  journal: {
    ...{ state: 'ok', queuedBytes: 0, commitsPerSecond: 0, commitMs: undefined, commitP99Ms: undefined },
    ...{ diskFreeBytes: 900, diskFloorBytes: 100, heldDevices: 1, heldGroups: 2 },
  },
  lagMs: 1,
  sinks: undefined,
  busiest: [],
};

it('the numbers of a fleet are the sums of its nodes, with the load, the state, the disk and the time of the worst', () => {
  const busy: NodeFigures = {
    ...IDLE,
    perSecond: { ...IDLE.perSecond, busy: 0.9 },
    clonesSuspected: 1,
    journal: {
      ...{ state: 'behind', queuedBytes: 7, commitsPerSecond: 3, commitMs: 4, commitP99Ms: 20 },
      ...{ diskFreeBytes: 950, diskFloorBytes: 200, heldDevices: 0, heldGroups: 3 },
    },
    sinks: [],
  };
  const slow = { ...IDLE, journal: { ...IDLE.journal, commitsPerSecond: 1, commitMs: 8, commitP99Ms: 9 } };
  expect(sumOfFigures([IDLE, busy, slow])).toEqual({
    sessions: { connected: 6, pending: 3, persistent: 9 },
    perSecond: { connects: 3, received: 30, stored: 24, sent: 12, dropped: 0, refused: 1.5, busy: 0.9 },
    refused: { connections: 3, enrollments: 6, topics: 9 },
    refusedLastHour: { connections: 3, enrollments: 0, topics: 0 },
    clonesSuspected: 1,
    journal: {
      ...{ state: 'behind', queuedBytes: 7, commitsPerSecond: 4, commitMs: 5, commitP99Ms: 20 },
      ...{ diskFreeBytes: 950, diskFloorBytes: 200, heldDevices: 2, heldGroups: 3 },
    },
    sinks: [],
  });
});

it('the numbers of one node are its own, and without a commit there is no time of one', () => {
  expect(sumOfFigures([IDLE])).toMatchObject({
    sessions: IDLE.sessions,
    journal: IDLE.journal,
    perSecond: IDLE.perSecond,
    sinks: undefined,
  });
});
