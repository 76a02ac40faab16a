import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  type Costs,
  commitsPerSecond,
  type Fleet,
  forecast,
  type Machines,
  planCells,
  planHost,
  type Work,
} from './model.ts';
import { withTables } from './tables.ts';

const NOTHING: Work = {
  restMicros: 0,
  enrollmentMicros: 0,
  connectMicros: 0,
  messageMicros: 0,
  commitMicros: 0,
  revocationMicros: 0,
};
const COSTS: Costs = {
  node: { ...NOTHING, restMicros: 10_000, connectMicros: 1_000, messageMicros: 50, commitMicros: 500 },
  primary: { ...NOTHING, connectMicros: 2_000, commitMicros: 100 },
  standby: NOTHING,
  baseMiB: 100,
  deviceKiB: 64,
  batchMs: 10,
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
  it('adds what a node does at rest to connects, messages and the commits that messages share', () => {
    // 100 messages a second on each of two nodes, half of which share a commit with one before.
    expect(commitsPerSecond(100, 10)).toBe(50);
    expect(forecast(COSTS, { nodes: 2, devices: 1_024, seconds: 10, connects: 1_000, messages: 2_000 })).toEqual({
      commits: 1_000,
      nodesSeconds: expect.closeTo(0.2 + 1 + 0.1 + 0.5),
      primarySeconds: expect.closeTo(2 + 0.1),
      standbySeconds: 0,
      residentMiB: 132,
    });
  });

  it('has a message alone in its commit where few come, and a commit for each batch where many do', () => {
    expect(commitsPerSecond(1, 10)).toBeCloseTo(1, 1);
    expect(commitsPerSecond(1e6, 10)).toBeCloseTo(100, 1);
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

describe('docs/capacity.md', () => {
  it('has the tables that the model makes of what was measured', () => {
    const page = readFileSync(new URL('../../../docs/capacity.md', import.meta.url), 'utf8');
    expect(page).toBe(withTables(page));
  });
});
