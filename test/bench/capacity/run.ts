/**
 * What docs/capacity.md rests on: what one server, one node and two nodes do for each thing (`observe.ts`), memory of new processes
 * (`memory.ts`), and runs of the simulator against a server with a store of its own and against 1, 2 and 3 nodes over PostgreSQL,
 * which the model has to foretell (`simulate.ts`). Prints the costs, and each run with its ratio to the model's figure. The exit code is
 * 1 when one is further away than 20 %. Everything is on this machine: the load is counted apart. Takes about 17 minutes.
 *
 * node bin/pinned.js test/bench/capacity/run.ts [--write] [--measure costs,memory,runs] [--devices 600] [--seconds 35] [--nodes 0,1,2,3]
 *
 * --write puts what was measured into measured.json, and the tables into docs/capacity.md. What --measure leaves out is taken from there.
 */

import { writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { parseArgs } from 'node:util';
import { BenchResources } from '../children.ts';
import { MEASURED_FILE, type Measurements, readMeasured } from './measured.ts';
import { measureMemory, type NodeMemory } from './memory.ts';
import type { Run } from './model.ts';
import { endDatabases, type Fleet, startFleet } from './nodes.ts';
import { observe } from './observe.ts';
import { writePage } from './page.ts';
import { endPrograms, simulate } from './simulate.ts';
import { distancesOf, GOAL, markdown, tablesOf } from './tables.ts';

/** Devices of the new processes whose memory is measured. */
const PROCESSES = [100, 500, 100, 500];

const PARTS = ['costs', 'memory', 'runs'];

const { values: options } = parseArgs({
  options: {
    write: { type: 'boolean', default: false },
    devices: { type: 'string', default: '600' },
    seconds: { type: 'string', default: '35' },
    nodes: { type: 'string', default: '0,1,2,3' },
    measure: { type: 'string', default: PARTS.join() },
  },
});

const borrowed = new BenchResources();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    endPrograms();
    borrowed.giveBackNow();
    void endDatabases().finally(() => process.exit(130));
  });
}

const began = performance.now();
const load = [loadAverage()];
try {
  const isWanted = (part: string) => options.measure.split(',').includes(part);
  const kept = PARTS.every(isWanted) ? undefined : readMeasured();
  const observed = isWanted('costs') || kept === undefined ? await observeAll() : kept.observed;
  const memory = isWanted('memory') || kept === undefined ? await memoryOfAll() : kept.memory;
  const runs = isWanted('runs') || kept === undefined ? await runAll() : kept.runs;
  const loads = [...load, ...(kept?.load ?? [])];
  const measured: Measurements = {
    machine: machine(),
    load: [Math.min(...loads), Math.max(...loads)],
    observed,
    memory,
    runs,
  };
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

async function observeAll(): Promise<Measurements['observed']> {
  const observed = async (nodes: number) => {
    say(`what costs rest on, ${named(nodes)}`);
    const found = await on(nodes, (fleet) => observe(borrowed, fleet));
    load.push(loadAverage());
    say(JSON.stringify(found, rounded));
    return found;
  };
  return { server: await observed(0), one: await observed(1), two: await observed(2) };
}

async function memoryOfAll(): Promise<Measurements['memory']> {
  say('memory');
  const server: NodeMemory[] = [];
  for (const devices of PROCESSES) server.push(...(await on(0, (fleet) => measureMemory(borrowed, fleet, [devices]))));
  const nodes = await on(PROCESSES.length, (fleet) => measureMemory(borrowed, fleet, PROCESSES));
  say(JSON.stringify({ server, nodes }, rounded));
  return { server, nodes };
}

async function runAll(): Promise<readonly Run[]> {
  const runs: Run[] = [];
  for (const nodes of options.nodes.split(',').map(Number)) {
    say(`the simulator, ${named(nodes)}`);
    const size = { nodes, devices: Number(options.devices), seconds: Number(options.seconds) };
    const run = await on(nodes, (fleet) => simulate(borrowed, fleet, size)).catch((error: unknown) => {
      // What was measured before is not lost.
      say(`failed: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    });
    if (run !== undefined) {
      runs.push(run);
      say(JSON.stringify(run, rounded));
    }
    load.push(loadAverage());
  }
  return runs;
}

function named(nodes: number): string {
  return nodes === 0 ? 'a server with a store of its own' : `nodes: ${nodes}`;
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
  const processor = cpus()[0]?.model ?? 'an unknown processor';
  return `${cpus().length} cores (${processor}), Linux ${release()}, Node ${process.versions.node}`;
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
