import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { batchesPerSecond, gatheringOf, shareOfBatches } from './batches.ts';
import { costsOf } from './costs.ts';
import { fitCosts } from './fit.ts';
import { readMeasured } from './measured.ts';
import {
  type Costs,
  type Fleet,
  forecast,
  type Machines,
  planCells,
  planHost,
  type Work,
  type WorkOfNodes,
} from './model.ts';
import type { Observations } from './observe.ts';
import { withTables } from './tables.ts';

const NOTHING: Work = {
  restMicros: 0,
  enrollmentMicros: 0,
  connectMicros: 0,
  eventsMicros: 0,
  messageMicros: 0,
  commitMicros: 0,
  revocationMicros: 0,
};

function work(ofOne: Partial<Work>, ofEachOther: Partial<Work> = {}): WorkOfNodes {
  return { ofOne: { ...NOTHING, ...ofOne }, ofEachOther: { ...NOTHING, ...ofEachOther } };
}

const COSTS: Costs = {
  nodes: work(
    { restMicros: 10_000, connectMicros: 1_000, messageMicros: 50, commitMicros: 500 },
    { restMicros: 10_000 },
  ),
  primary: work({ connectMicros: 2_000, commitMicros: 100 }),
  standby: work({}),
  baseMiB: 100,
  deviceKiB: 64,
  gatherings: [{ perSecond: 100, gatherMs: 10 }],
  eventsMs: 20,
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
  const load = { enrollments: 0, connects: 1_000, connectSeconds: 0, messages: 2_000, messageSeconds: 10 };

  it('adds what a node does at rest to connects, messages and the commits that messages share', () => {
    // 100 messages a second on each of two nodes, half of which share a commit with one before.
    expect(forecast(COSTS, { ...load, nodes: 2, devices: 1_024, seconds: 10 })).toEqual({
      commits: expect.closeTo(1_000),
      nodesSeconds: expect.closeTo(0.2 + 1 + 0.1 + 0.5),
      primarySeconds: expect.closeTo(2 + 0.1),
      standbySeconds: 0,
      residentMiB: 132,
    });
  });

  it('adds enrollments, the batches of events that connects share, and what each other node causes on all', () => {
    const costs = {
      ...COSTS,
      nodes: work({ enrollmentMicros: 10_000, eventsMicros: 1_000 }, { connectMicros: 100, eventsMicros: 200 }),
      primary: work({ restMicros: 1_000, eventsMicros: 3_000 }, { restMicros: 2_000, eventsMicros: 500 }),
    };
    const busy = { ...load, nodes: 3, devices: 0, seconds: 10, enrollments: 100, messages: 0, connectSeconds: 10 };
    const batches = 1_000 * shareOfBatches(1_000 / 3 / 10, 20);
    const { nodesSeconds, primarySeconds } = forecast(costs, busy);
    expect(nodesSeconds).toBeCloseTo(1 + batches * 0.001 + 2 * (0.1 + batches * 0.0002));
    expect(primarySeconds).toBeCloseTo(0.01 + batches * 0.003 + 2 * (0.02 + batches * 0.0005));
  });

  it('has fewer commits than at a steady rate while ever more devices send', () => {
    // 1,000 messages in 10 s: in the first 4 s as many as in the 2 s after.
    const { commits } = forecast(COSTS, {
      ...load,
      nodes: 1,
      devices: 0,
      seconds: 10,
      messages: 1_000,
      connectSeconds: 4,
    });
    const steady = (seconds: number) => seconds * batchesPerSecond(125, COSTS.gatherings);
    expect(commits).toBeGreaterThan(steady(8));
    expect(commits).toBeLessThan(steady(10));
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

  it('has nodes and the primary do what batches of events cost at the rate at which devices come back', () => {
    const costs = { ...COSTS, nodes: work({ connectMicros: 1_000, eventsMicros: 10_000 }) };
    const { handshakesPerSecond } = planHost(costs, FLEET, MACHINES);
    const micros = 1_000 + 10_000 * shareOfBatches(handshakesPerSecond, 20);
    expect(handshakesPerSecond).toBeCloseTo(1e6 / micros);
    expect(handshakesPerSecond).toBeLessThan(700);
  });

  it('revokes a million devices by one order for each cell', () => {
    expect(planHost(COSTS, FLEET, MACHINES).revocationSeconds).toBe(100);
    const plan = planCells(COSTS, { ...FLEET, devices: 5_000_000 }, MACHINES);
    expect(plan.revocationSeconds).toBe(1_000 / plan.cells);
  });
});

describe('costs from what was counted', () => {
  const one: Work = {
    restMicros: 20_000,
    enrollmentMicros: 4_000,
    connectMicros: 3_000,
    eventsMicros: 8_000,
    messageMicros: 40,
    commitMicros: 900,
    revocationMicros: 1_000,
  };
  const other: Work = { ...one, restMicros: 15_000, messageMicros: 0, commitMicros: 200, eventsMicros: 3_000 };

  it('are those of one node, and what a second one adds to them', () => {
    const memory = [100, 300, 500].map((devices) => ({ devices, bytes: 1_048_576 * (200 + devices / 4) }));
    const costs = costsOf(observationsOf([one]), observationsOf([one, other]), memory);
    const almost = (expected: Work) => {
      return Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, expect.closeTo(value, 0)]));
    };
    expect(costs.nodes).toEqual({ ofOne: almost(one), ofEachOther: almost(other) });
    expect(costs.primary).toEqual({ ofOne: almost(one), ofEachOther: almost(other) });
    expect(costs.standby).toEqual({ ofOne: NOTHING, ofEachOther: NOTHING });
    // 20 ms for the window of events, and what a message takes beyond its window of 4 ms.
    expect(costs.eventsMs).toBeCloseTo(24);
    expect(costs.gatherings).toEqual([
      { perSecond: 20, gatherMs: expect.closeTo(6) },
      { perSecond: 1_000, gatherMs: expect.closeTo(6) },
    ]);
    expect(costs).toMatchObject({ baseMiB: expect.closeTo(200), deviceKiB: expect.closeTo(256), revocationMs: 2 });
  });

  it('are nothing for other nodes where there is one server alone', () => {
    const memory = [100, 500].map((devices) => ({ devices, bytes: 1 }));
    expect(costsOf(observationsOf([one]), undefined, memory).nodes.ofEachOther).toEqual(NOTHING);
  });

  /** Of nodes that each do exactly this, as does the primary for them. */
  function observationsOf(works: readonly Work[]): Observations {
    const used = (above: (work: Work) => number, seconds: number) => {
      const [first = 0, others = 0] = works.map((each) => each.restMicros * seconds + above(each));
      const usage = { first, others, primary: first + others, standby: 0 };
      return { usage, seconds, workSeconds: seconds };
    };
    return {
      rest: used(() => 0, 8),
      enrollments: { ...used((each) => each.enrollmentMicros * 150, 3), count: 150 },
      connects: [15, 90, 250].map((perSecond) => {
        const batches = 80 * shareOfBatches(perSecond, 24);
        const above = (each: Work) => each.connectMicros * 80 + each.eventsMicros * batches;
        return { ...used(above, 4), count: 80, perSecond };
      }),
      messages: [20, 1_000].map((perSecond) => {
        const commits = 2_000 / (1_000 / perSecond + 6);
        const above = (each: Work) => each.messageMicros * perSecond * 2 + each.commitMicros * commits;
        return { ...used(above, 2), count: perSecond * 2, commits };
      }),
      revocations: { ...used((each) => each.revocationMicros * 200, 2), count: 200 },
      aloneMs: 8,
      revocationMs: works.length,
    };
  }
});

describe('batches of what comes one by one', () => {
  it('have one entry each where few come, and gather as long as was counted where many do', () => {
    const gatherings = [
      { perSecond: 10, gatherMs: 4 },
      { perSecond: 1_000, gatherMs: 8 },
    ];
    expect(batchesPerSecond(0, gatherings)).toBe(0);
    expect(batchesPerSecond(1, gatherings)).toBeCloseTo(1000 / 1004);
    expect(batchesPerSecond(100, gatherings)).toBeCloseTo(1000 / 16);
    expect(batchesPerSecond(1e6, gatherings)).toBeCloseTo(1000 / 8, 0);
    expect(gatheringOf({ entries: 300, batches: 100, seconds: 3 })).toEqual({ perSecond: 100, gatherMs: 20 });
  });

  it('are begun by the share of events that a writer makes which takes what came while it wrote', () => {
    expect(shareOfBatches(1, 25)).toBeCloseTo(1, 2);
    for (const perSecond of [5, 20, 60, 250]) {
      expect(Math.abs(shareOfBatches(perSecond, 25) / countedShare(perSecond, 25) - 1)).toBeLessThan(0.05);
    }
  });
});

describe('costs of several things', () => {
  const counts = [10, 100, 1_000].map((perSecond) => [perSecond * 10, 10_000 / (1_000 / perSecond + 6)]);
  const micros = (each: number, batch: number) => {
    return counts.map((of) => ({ counts: of, micros: each * (of[0] as number) + batch * (of[1] as number) }));
  };

  it('are found from work that has different numbers of each', () => {
    expect(fitCosts(micros(50, 700))).toEqual([expect.closeTo(50), expect.closeTo(700)]);
  });

  it('are nothing rather than less', () => {
    expect(fitCosts(micros(-0.1, 700))).toEqual([0, expect.closeTo(700, -1)]);
  });
});

/** One batch after the other, of entries by a generator with a fixed seed. */
function countedShare(perSecond: number, cycleMs: number): number {
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  let [at, free, waiting, batches] = [0, 0, 0, 0];
  for (let entries = 0; entries < 20_000; entries += 1) {
    at -= (Math.log(1 - random()) * 1000) / perSecond;
    while (free <= at && waiting > 0) {
      batches += 1;
      waiting = 0;
      free += cycleMs;
    }
    if (at < free) waiting += 1;
    else {
      batches += 1;
      free = at + cycleMs;
    }
  }
  return batches / 20_000;
}

describe('docs/capacity.md', () => {
  it('has the tables that the model makes of what was measured', () => {
    const page = readFileSync(new URL('../../../docs/capacity.md', import.meta.url), 'utf8');
    expect(page).toBe(withTables(page, readMeasured()));
  });
});
