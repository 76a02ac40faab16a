/**
 * What docs/capacity.md rests on: costs (`calibrate.ts`), memory of new processes, and runs of the simulator against a server with a store of
 * its own and against 1, 2 and 3 nodes over PostgreSQL, which the model has to foretell (`simulate.ts`). Prints the costs, and each run
 * with its ratio to the model's figure. The exit code is 1 when one is further away than 20 %. Everything is on this machine: the
 * load is counted apart. Takes about ten minutes.
 *
 * node bin/pinned.js test/bench/capacity/run.ts [--write] [--devices 600] [--seconds 35] [--nodes 0,1,2,3] [--keep-costs]
 *
 * --write puts what was measured into measured.json, and the tables into docs/capacity.md. --keep-costs takes the costs from there.
 */

import { writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { parseArgs } from 'node:util';
import { BenchResources } from '../children.ts';
import { calibrate, measureMemory, memoryCosts } from './calibrate.ts';
import { MEASURED_FILE, type Measurements, readMeasured } from './measured.ts';
import type { Costs, Run } from './model.ts';
import { endDatabases, type Fleet, startFleet } from './nodes.ts';
import { writePage } from './page.ts';
import { simulate } from './simulate.ts';
import { distancesOf, GOAL, markdown, tablesOf } from './tables.ts';

/** Devices of the new processes whose memory is measured. */
const FEW = 100;
const MANY = 500;
/** Where costs over PostgreSQL are measured, so that it is known what one node causes on another. */
const CALIBRATED_NODES = 2;

const { values: options } = parseArgs({
  options: {
    write: { type: 'boolean', default: false },
    devices: { type: 'string', default: '600' },
    seconds: { type: 'string', default: '35' },
    nodes: { type: 'string', default: '0,1,2,3' },
    'keep-costs': { type: 'boolean', default: false },
  },
});

const borrowed = new BenchResources();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    borrowed.giveBackNow();
    void endDatabases().finally(() => process.exit(130));
  });
}

const began = performance.now();
const load = [loadAverage()];
try {
  const { embedded, shared } = options['keep-costs']
    ? readMeasured().costs
    : { embedded: await costsOfServer(), shared: await costsOfNodes() };
  say(JSON.stringify({ embedded, shared }, rounded));
  const runs: Run[] = [];
  for (const nodes of options.nodes.split(',').map(Number)) {
    say(`the simulator, ${nodes === 0 ? 'a server with a store of its own' : `nodes: ${nodes}`}`);
    const size = { nodes, devices: Number(options.devices), seconds: Number(options.seconds) };
    const run = await on(nodes, (fleet) => simulate(borrowed, fleet, size)).catch((error: unknown) => {
      // What was measured before is not lost.
      say(`failed: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    });
    if (run !== undefined) runs.push(run);
    load.push(loadAverage());
  }
  const measured: Measurements = { machine: machine(), costs: { embedded, shared }, runs };
  const tables = tablesOf(measured);
  process.stdout.write(`${markdown(tables.costs)}\n\n${markdown(tables.runs)}\n\n`);
  if (options.write) {
    writeFileSync(MEASURED_FILE, `${JSON.stringify(measured, rounded, 2)}\n`);
    writePage();
  }
  const far = distancesOf(measured).filter(({ ratio }) => Math.abs(ratio - 1) > GOAL);
  for (const { what, ratio } of far) say(`${what}: ${ratio.toFixed(2)} times the model's figure`);
  const verdict = far.length === 0 ? 'all within 20 %' : `${far.length} not within 20 %`;
  say(runs.length === 0 ? 'no run succeeded' : verdict);
  if (far.length > 0) process.exitCode = 1;
} finally {
  await borrowed.giveBack();
}

async function costsOfServer(): Promise<Costs> {
  say('costs of a server with a store of its own');
  const costs = await on(0, (fleet) => calibrate(borrowed, fleet));
  const [few] = await on(0, (fleet) => measureMemory(borrowed, fleet, [FEW]));
  const [many] = await on(0, (fleet) => measureMemory(borrowed, fleet, [MANY]));
  if (few === undefined || many === undefined) throw new Error('expected the memory of two servers');
  return { ...costs, ...memoryCosts(few, many) };
}

async function costsOfNodes(): Promise<Costs> {
  say(`costs of ${CALIBRATED_NODES} nodes`);
  const costs = await on(CALIBRATED_NODES, (fleet) => calibrate(borrowed, fleet));
  const [few, many] = await on(CALIBRATED_NODES, (fleet) => measureMemory(borrowed, fleet, [FEW, MANY]));
  if (few === undefined || many === undefined) throw new Error('expected the memory of two nodes');
  return { ...costs, ...memoryCosts(few, many) };
}

async function on<Result>(nodes: number, work: (fleet: Fleet) => Promise<Result>): Promise<Result> {
  const fleet = await startFleet(borrowed, nodes);
  try {
    return await work(fleet);
  } finally {
    await fleet.stop();
  }
}

/** In the words of the page. */
function machine(): string {
  const [low, high] = [Math.min(...load), Math.max(...load)].map((one) => one.toFixed(1));
  const processor = cpus()[0]?.model ?? 'an unknown processor';
  return `${cpus().length} cores (${processor}), Linux ${release()}, Node ${process.versions.node}, load average ${low} to ${high}`;
}

function loadAverage(): number {
  return loadavg()[0] as number;
}

function rounded(_: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toPrecision(4)) : value;
}

function elapsed(): string {
  return ((performance.now() - began) / 1000).toFixed(0);
}

function say(what: string): void {
  process.stderr.write(`capacity: ${elapsed()} s: ${what}\n`);
}
