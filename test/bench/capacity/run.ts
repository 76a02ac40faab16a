/**
 * What docs/capacity.md rests on: the costs of a connect, a message and an idle device, measured by the bench's load generator on a server with
 * a store of its own and on one node with PostgreSQL; then runs of the simulator against 1, 2 and 3 nodes, whose CPU and memory the
 * model has to foretell. Prints both as JSON, for `measured.ts`. Everything is on this machine: the simulator is counted apart.
 *
 * node bin/pinned.js test/bench/capacity/run.ts [DEVICES] [SECONDS] [NODES,...]
 *
 * NODES 0 is the server with a store of its own; 0,1,2,3 without it.
 */

import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { openConsoleClient } from '../../../console/client.ts';
import { BenchResources } from '../children.ts';
import { LoadGenerator } from '../load-generator.ts';
import { untilQuiet } from '../process-meter.ts';
import type { Costs, Run, Work } from './model.ts';
import { type CapacityNode, type Fleet, PROGRAM, startFleet, type Usage } from './nodes.ts';

const [devices = 600, seconds = 60] = process.argv.slice(2, 4).map(Number);
const [counts = '0,1,2,3'] = process.argv.slice(4);

/** Devices of the load generator: those that connect once, and those that stay. As many are enrolled and connected before that. */
const CONNECTS = 150;
const IDLE = 320;
const WARM_UP = 100;
/** Each rate in turns, because the machine has other work: a message alone in its commit, and many in one. */
const PACED_TURNS = 3;
const PACED_SECONDS = 3;
const SLOW_PER_SECOND = 200;
const FAST_PER_SECOND = 2_000;
const REVOKED = 200;
const EVERY_SECONDS = 2;
const ARRIVE_SECONDS = 10;
const WARM_UP_SECONDS = 12;

const borrowed = new BenchResources();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    borrowed.giveBackNow();
    process.exit(130);
  });
}

try {
  const costs: Record<string, Costs> = {};
  const runs: Run[] = [];
  for (const nodes of counts.split(',').map(Number)) {
    say(nodes === 0 ? 'a server with a store of its own' : `${nodes} nodes`);
    await on(nodes, async (fleet) => {
      if (nodes <= 1) costs[nodes === 0 ? 'embedded' : 'shared'] = await calibrate(fleet);
      runs.push(await simulate(fleet, nodes));
    });
    process.stdout.write(`${JSON.stringify({ load: loadavg(), costs, runs }, null, 2)}\n`);
  }
} finally {
  await borrowed.giveBack();
}

async function on(nodes: number, work: (fleet: Fleet) => Promise<void>): Promise<void> {
  const fleet = await startFleet(borrowed, nodes);
  try {
    await work(fleet);
  } finally {
    await fleet.stop();
  }
}

/** Everything is a difference to the server at rest, whose own work is measured first. */
async function calibrate(fleet: Fleet): Promise<Costs> {
  const [node] = fleet.nodes as readonly [CapacityNode];
  const load = new LoadGenerator(borrowed);
  const port = Number(new URL(node.mqttUrl).port);
  await enroll(node, load, WARM_UP);
  await load.order({ kind: 'connect', port, count: WARM_UP, inFlight: 8 });
  await untilQuiet(node.pid);
  const rest = await metered(fleet, () => delay(5_000));
  const enrolled = CONNECTS + IDLE;
  const enrollment = await metered(fleet, () => enroll(node, load, enrolled));
  const connect = await metered(fleet, () => load.order({ kind: 'connect', port, count: CONNECTS, inFlight: 8 }));
  await load.order({ kind: 'open', as: 'idle', port, count: IDLE / 4 });
  await untilQuiet(node.pid);
  const before = fleet.resident();
  await load.order({ kind: 'open', as: 'idle', port, count: (IDLE * 3) / 4 });
  await untilQuiet(node.pid);
  const deviceKiB = (fleet.resident() - before) / ((IDLE * 3) / 4) / 1024;
  const paced = async (perSecond: number): Promise<Paced> => {
    const count = perSecond * PACED_SECONDS;
    const order = { kind: 'pace', as: 'idle', topic: 'telemetry', count, perSecond } as const;
    const commits = await fleet.commits();
    const used = await metered(fleet, () => load.order(order));
    return { ...used, count, commits: (await fleet.commits()) - commits };
  };
  await paced(FAST_PER_SECOND);
  const turns: { readonly slow: Paced; readonly fast: Paced }[] = [];
  for (let turn = 0; turn < PACED_TURNS; turn += 1) {
    turns.push({ slow: await paced(SLOW_PER_SECOND), fast: await paced(FAST_PER_SECOND) });
  }
  // With what the heap holds while messages come.
  const baseMiB = fleet.resident() / 1_048_576 - (deviceKiB * IDLE) / 1024;
  const slow = sumOf(turns.map((turn) => turn.slow));
  const fast = sumOf(turns.map((turn) => turn.fast));
  const revoke = { kind: 'revokeAll', as: 'idle', socketPath: node.socketPath, count: REVOKED, skip: 0 } as const;
  const revocation = await metered(fleet, () => load.order(revoke));
  const restPerSecond = perSecondOf(rest);
  const work = (pick: (usage: Usage) => number): Work => {
    const above = (used: Metered) => pick(used.usage) - pick(restPerSecond) * used.seconds;
    // Two loads, two unknowns: what a commit costs, and what a message costs.
    const determinant = slow.count * fast.commits - fast.count * slow.commits;
    const message = (above(slow) * fast.commits - above(fast) * slow.commits) / determinant;
    const commit = (slow.count * above(fast) - fast.count * above(slow)) / determinant;
    return {
      restMicros: pick(restPerSecond),
      enrollmentMicros: above(enrollment) / enrolled,
      connectMicros: above(connect) / CONNECTS,
      messageMicros: message,
      commitMicros: commit,
      revocationMicros: above(revocation) / REVOKED,
    };
  };
  return {
    node: work(({ nodes }) => nodes),
    primary: work(({ primary }) => primary),
    standby: work(({ standby }) => standby),
    baseMiB,
    deviceKiB,
    // A batch gathers and is written in this time: commits of a rate follow from it.
    batchMs: (fast.seconds / fast.commits - 1 / (fast.count / fast.seconds)) * 1000,
    revocationMs: ((revocation.samples ?? [])[0] ?? Number.NaN) / REVOKED,
  };
}

async function enroll(node: CapacityNode, load: LoadGenerator, count: number): Promise<void> {
  const operator = openConsoleClient({ socketPath: node.socketPath });
  const { text: token } = await operator.createToken({ uses: count });
  await operator.close();
  const order = { kind: 'enroll', port: node.enrollPort, token, connections: 'new', devices: 'stored' } as const;
  await load.order({ ...order, count, inFlight: 8 });
}

/** A simulator for each node, with its part of the devices; all of them connect, and then send at a steady rate. */
async function simulate(fleet: Fleet, nodes: number): Promise<Run> {
  const each = Math.floor(devices / fleet.nodes.length);
  const places = fleet.nodes.map((_, index) => join(borrowed.directory, `identities-${nodes}-${index}`));
  for (const [index, { data }] of fleet.nodes.entries()) {
    await program('simulate', 'devices', '--keep', places[index] as string, '--count', String(each), '--data', data);
  }
  const scenario = join(borrowed.directory, 'capacity.yaml');
  const results = fleet.nodes.map((_, index) => join(borrowed.directory, `result-${nodes}-${index}.json`));
  const play = async (forSeconds: number) => {
    writeFileSync(scenario, scenarioText(each, forSeconds));
    await Promise.all(
      fleet.nodes.map(({ mqttUrl, data }, index) =>
        program(
          ...['simulate', '--scenario', scenario, '--workers', '1', '--target', mqttUrl],
          ...['--target-ca', join(data, 'trust-bundle.pem'), '--identities', places[index] as string],
          ...['--result', results[index] as string],
        ),
      ),
    );
  };
  await play(WARM_UP_SECONDS); // code is compiled
  for (const { pid } of fleet.nodes) await untilQuiet(pid);
  const commits = await fleet.commits();
  let memory = 0;
  const used = await metered(fleet, async () => {
    const watching = setInterval(() => {
      memory = Math.max(memory, fleet.resident());
    }, 1_000);
    await play(seconds);
    clearInterval(watching);
  });
  for (const place of places) rmSync(place, { recursive: true });
  const values = results.map((file) => (JSON.parse(readFileSync(file, 'utf8')) as Result).values);
  const sum = (name: string) => values.reduce((total, one) => total + (one[name] ?? 0), 0);
  return {
    nodes,
    devices: each * fleet.nodes.length,
    seconds: used.seconds,
    connects: sum('devices.connected'),
    messages: sum('messages.acknowledged'),
    unacknowledged: sum('messages.unacknowledged'),
    commits: (await fleet.commits()) - commits,
    nodesSeconds: used.usage.nodes / 1e6,
    primarySeconds: used.usage.primary / 1e6,
    standbySeconds: used.usage.standby / 1e6,
    residentMiB: memory / 1_048_576,
  };
}

interface Result {
  readonly values: Readonly<Record<string, number>>;
}

function scenarioText(count: number, forSeconds: number): string {
  return [
    'name: capacity',
    `duration: ${forSeconds}s`,
    'settle: 5s',
    'devices:',
    '  sensors:',
    `    count: ${count}`,
    `    arrive: { curve: constant, over: ${Math.min(ARRIVE_SECONDS, forSeconds / 2)}s }`,
    `    publish: [{ stream: temperature, every: ${EVERY_SECONDS}s, size: 200B, model: { kind: sine } }]`,
    'expect:',
    '  - messages.unacknowledged == 0',
    'limits: { lag: 1h }',
    '',
  ].join('\n');
}

interface Metered {
  readonly usage: Usage;
  readonly seconds: number;
  readonly samples?: readonly number[] | undefined;
}

async function metered(fleet: Fleet, work: () => Promise<unknown>): Promise<Metered> {
  const [before, began] = [fleet.usage(), performance.now()];
  const report = (await work()) as { readonly samples?: readonly number[] } | undefined;
  for (const { pid } of fleet.nodes) await untilQuiet(pid);
  const after = fleet.usage();
  return {
    usage: {
      nodes: after.nodes - before.nodes,
      primary: after.primary - before.primary,
      standby: after.standby - before.standby,
    },
    seconds: (performance.now() - began) / 1000,
    samples: report?.samples,
  };
}

interface Paced extends Metered {
  readonly count: number;
  readonly commits: number;
}

function sumOf(all: readonly Paced[]): Paced {
  const sum = (pick: (one: Paced) => number) => all.reduce((total, one) => total + pick(one), 0);
  return {
    usage: {
      nodes: sum(({ usage }) => usage.nodes),
      primary: sum(({ usage }) => usage.primary),
      standby: sum(({ usage }) => usage.standby),
    },
    seconds: sum(({ seconds: took }) => took),
    samples: all.flatMap(({ samples = [] }) => samples),
    count: sum(({ count }) => count),
    commits: sum(({ commits }) => commits),
  };
}

function perSecondOf({ usage, seconds: took }: Metered): Usage {
  return { nodes: usage.nodes / took, primary: usage.primary / took, standby: usage.standby / took };
}

async function program(...args: readonly string[]): Promise<void> {
  await promisify(execFile)(process.execPath, [PROGRAM, ...args], { maxBuffer: 64 * 1_048_576 });
}

function say(what: string): void {
  process.stderr.write(`capacity: ${what}\n`);
}
