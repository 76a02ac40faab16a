import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { batchesPerSecond, fitBatchTimes, fitCosts } from './batches.ts';
import { readMeasured } from './measured.ts';
import { type Costs, type Fleet, forecast, type Machines, planCells, planHost, type Work } from './model.ts';
import { withTables } from './tables.ts';

const NOTHING: Work = {
  restMicros: 0,
  enrollmentMicros: 0,
  connectMicros: 0,
  presenceMicros: 0,
  messageMicros: 0,
  commitMicros: 0,
  revocationMicros: 0,
};
const COSTS: Costs = {
  node: { ...NOTHING, restMicros: 10_000, connectMicros: 1_000, messageMicros: 50, commitMicros: 500 },
  other: NOTHING,
  primary: { ...NOTHING, connectMicros: 2_000, commitMicros: 100 },
  standby: NOTHING,
  baseMiB: 100,
  deviceKiB: 64,
  messages: { gatherMs: 10, cycleMs: 10 },
  presence: { gatherMs: 20, cycleMs: 20 },
  stormPerSecond: 1e6,
  revocationMs: 1,
};
const MACHINES: Machines = {
  hostCores: 5,
  hostMiB: 4_096,
  primaryCores: 4,
  cellDevices: 1e9,
  busyAtMost: 0.5,
  busyInStorm: 1,
};
const FLEET: Fleet = { devices: 100_000, messageEvery: 100, backWithin: 100 };

describe('the model of capacity', () => {
  const load = { enrollments: 0, connects: 1_000, connectSeconds: 10, messages: 2_000, grainMs: 0 };

  it('adds what a node does at rest to connects, messages and the commits that messages share', () => {
    // 100 messages a second on each of two nodes, half of which share a commit with one before.
    expect(forecast(COSTS, { ...load, nodes: 2, devices: 1_024, seconds: 10 })).toEqual({
      commits: 1_000,
      nodesSeconds: expect.closeTo(0.2 + 1 + 0.1 + 0.5),
      primarySeconds: expect.closeTo(2 + 0.1),
      standbySeconds: 0,
      residentMiB: 132,
    });
  });

  it('adds enrollments, what connects cost that come alone, and what each of the other nodes does meanwhile', () => {
    const costs = {
      ...COSTS,
      node: { ...NOTHING, enrollmentMicros: 10_000, presenceMicros: 1_000 },
      other: { ...NOTHING, connectMicros: 100, presenceMicros: 200 },
    };
    // 50 connects a second on each of two nodes: 25 batches of each for ten seconds; a storm has next to none.
    const busy = { ...load, nodes: 2, devices: 0, seconds: 10, enrollments: 100, messages: 0 };
    expect(forecast(costs, busy).nodesSeconds).toBeCloseTo(1 + 0.5 + 0.1 + 0.1);
  });

  it('takes as many nodes as devices need memory, or handshakes in time, and no cell more than its primary carries', () => {
    // 100,000 connects of 2 ms in 100 s are 2 of 4 cores of the primary; 64 KiB each are 6,250 MiB, of which a node has 924.
    expect(planCells(COSTS, FLEET, MACHINES)).toMatchObject({ cells: 1, nodes: 7, hosts: 2, backSeconds: 50 });
    expect(planCells(COSTS, { ...FLEET, devices: 500_000 }, MACHINES)).toMatchObject({
      cells: 3,
      backSeconds: expect.closeTo(250 / 3),
    });
    expect(planCells(COSTS, FLEET, { ...MACHINES, cellDevices: 50_000 })).toMatchObject({ cells: 2 });
    expect(planCells(COSTS, { ...FLEET, backWithin: 10 }, MACHINES)).toMatchObject({
      cells: 5,
      nodes: 10,
      backSeconds: 10,
    });
  });

  it('revokes a million devices by one order for each cell', () => {
    expect(planHost(COSTS, FLEET, MACHINES).revocationSeconds).toBe(100);
    const plan = planCells(COSTS, { ...FLEET, devices: 5_000_000 }, MACHINES);
    expect(plan.revocationSeconds).toBe(1_000 / plan.cells);
  });
});

describe('batches of what comes one by one', () => {
  const times = { gatherMs: 10, cycleMs: 25 };

  it('have one entry each where few come, and are as many as can be written where many do', () => {
    expect(batchesPerSecond(0, times)).toBe(0);
    expect(batchesPerSecond(1, times)).toBeCloseTo(1, 1);
    expect(batchesPerSecond(1e6, times)).toBeCloseTo(40, 1);
  });

  it('are as many as a group commit makes of entries that come at random, and of such that come at multiples of a time', () => {
    for (const grainMs of [0, 4, 15]) {
      for (const perSecond of [5, 50, 500]) {
        const counted = countBatches(perSecond, times, grainMs);
        expect(Math.abs(batchesPerSecond(perSecond, times, grainMs) / counted - 1)).toBeLessThan(0.1);
      }
    }
  });

  it('tell their times and what they cost from what was counted at several rates', () => {
    const counted = [10, 100, 1_000].map((perSecond) => {
      return { entries: perSecond * 10, batches: batchesPerSecond(perSecond, times) * 10, seconds: 10 };
    });
    const found = fitBatchTimes(counted, 4);
    expect(found.gatherMs).toBeCloseTo(10, 0);
    expect(found.cycleMs).toBeCloseTo(25, 0);
    const observed = counted.map(({ entries, batches }) => ({
      each: entries,
      batches,
      micros: 50 * entries + 700 * batches,
    }));
    expect(fitCosts(observed)).toEqual({ each: expect.closeTo(50), batch: expect.closeTo(700) });
    const free = counted.map(({ entries, batches }) => ({
      each: entries,
      batches,
      micros: 700 * batches - entries / 10,
    }));
    expect(fitCosts(free)).toEqual({ each: 0, batch: expect.closeTo(700, -1) });
  });
});

/** One batch after the other, of entries by a generator with a fixed seed. */
function countBatches(perSecond: number, { gatherMs, cycleMs }: typeof COSTS.messages, grainMs: number): number {
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const arrival = (time: number) => (grainMs === 0 ? time : Math.ceil(time / grainMs) * grainMs);
  let [time, at, closed, batches] = [0, 0, Number.NEGATIVE_INFINITY, 0];
  while (batches < 4_000) {
    // Entries that come until the batch is closed are in it.
    while (at <= closed) {
      time -= (Math.log(1 - random()) * 1000) / perSecond;
      at = arrival(time);
    }
    closed = Math.max(at + gatherMs, closed + cycleMs);
    batches += 1;
  }
  return (batches * 1000) / closed;
}

describe('docs/capacity.md', () => {
  it('has the tables that the model makes of what was measured', () => {
    const page = readFileSync(new URL('../../../docs/capacity.md', import.meta.url), 'utf8');
    expect(page).toBe(withTables(page, readMeasured()));
  });
});
