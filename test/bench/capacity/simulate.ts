/**
 * A run of the simulator that the model has to foretell: one process for each node, with its part of the devices, all of which connect and
 * then send at a steady rate. Devices are enrolled before; memory is measured in a short run before, which also has code compiled.
 */

import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { BenchResources } from '../children.ts';
import { metered, settled } from './meter.ts';
import type { Run } from './model.ts';
import { type Fleet, PROGRAM } from './nodes.ts';

const EVERY_SECONDS = 2;
const ARRIVE_SECONDS = 10;
/** Messages come so much faster while code is compiled. */
const WARM_UP = { seconds: 15, every: 0.25, arrive: 4 };
const WARM_UP_MESSAGES_MS = 5_000;
/** The simulator's devices send at multiples of this time (simulator/devices/timer-wheel.ts). */
const GRAIN_MS = 5;
const WARM_UP_AT_MOST_SECONDS = 60;
const PROGRAM_WITHIN_MS = 180_000;

export interface RunSize {
  readonly devices: number;
  readonly seconds: number;
  /** 0: a server with a store of its own. */
  readonly nodes: number;
}

interface Part {
  readonly identities: string;
  readonly result: string;
}

interface Play {
  readonly seconds: number;
  readonly every: number;
  readonly arrive: number;
}

export async function simulate(
  borrowed: BenchResources,
  fleet: Fleet,
  { devices, seconds, nodes }: RunSize,
): Promise<Run> {
  const each = Math.floor(devices / fleet.nodes.length);
  const parts = fleet.nodes.map((_, index): Part => {
    const [identities, result] = [`identities-${nodes}-${index}`, `result-${nodes}-${index}.json`];
    return { identities: join(borrowed.directory, identities), result: join(borrowed.directory, result) };
  });
  for (const [index, { data }] of fleet.nodes.entries()) {
    const { identities } = parts[index] as Part;
    await program('simulate', 'devices', '--keep', identities, '--count', String(each), '--data', data);
  }
  const scenario = join(borrowed.directory, 'capacity.yaml');
  const play = async (one: Play) => {
    writeFileSync(scenario, scenarioText(each, one));
    await Promise.all(fleet.nodes.map((node, index) => playOn(node, scenario, parts[index] as Part)));
  };
  const resident = await warmUp(fleet, each * fleet.nodes.length, play);
  await settled();

  const commits = await fleet.metric('rollcall_telemetry_commits_total');
  const enrollments = await fleet.metric('rollcall_enrollments_total');
  const used = await metered(fleet, () => play({ seconds, every: EVERY_SECONDS, arrive: ARRIVE_SECONDS }));
  const values = parts.map(({ result }) => (JSON.parse(readFileSync(result, 'utf8')) as Result).values);
  const sum = (name: string) => values.reduce((total, one) => total + (one[name] ?? 0), 0);
  for (const { identities } of parts) rmSync(identities, { recursive: true });
  return {
    nodes,
    devices: each * fleet.nodes.length,
    seconds: used.seconds,
    enrollments: (await fleet.metric('rollcall_enrollments_total')) - enrollments,
    connects: sum('devices.connected'),
    connectSeconds: ARRIVE_SECONDS,
    messages: sum('messages.acknowledged'),
    grainMs: GRAIN_MS,
    unacknowledged: sum('messages.unacknowledged'),
    commits: (await fleet.metric('rollcall_telemetry_commits_total')) - commits,
    nodesSeconds: (used.usage.first + used.usage.others) / 1e6,
    primarySeconds: used.usage.primary / 1e6,
    standbySeconds: used.usage.standby / 1e6,
    residentMiB: resident.reduce((total, bytes) => total + bytes, 0) / resident.length / 1_048_576,
  };
}

interface Result {
  readonly values: Readonly<Record<string, number>>;
}

async function playOn({ mqttUrl, data }: Fleet['nodes'][number], scenario: string, part: Part): Promise<void> {
  await program(
    ...['simulate', '--scenario', scenario, '--workers', '1', '--target', mqttUrl],
    ...['--target-ca', join(data, 'trust-bundle.pem'), '--identities', part.identities, '--result', part.result],
  );
}

/** Returns the memory of each node while all devices are connected; a slow machine needs a longer time for that. */
async function warmUp(fleet: Fleet, devices: number, play: (one: Play) => Promise<void>): Promise<readonly number[]> {
  for (let seconds = WARM_UP.seconds; seconds <= WARM_UP_AT_MOST_SECONDS; seconds *= 2) {
    let hasEnded = false;
    const warming = play({ ...WARM_UP, seconds }).finally(() => {
      hasEnded = true;
    });
    warming.catch(() => {}); // awaited below
    let connected = 0;
    while (!hasEnded && connected < devices) {
      await delay(200);
      connected = await fleet.metric('rollcall_sessions');
    }
    if (connected >= devices) {
      await delay(WARM_UP_MESSAGES_MS);
      const resident = await fleet.resident();
      await warming;
      return resident;
    }
    await warming;
  }
  throw new Error(`expected ${devices} connected devices, found fewer`);
}

function scenarioText(count: number, { seconds, every, arrive }: Play): string {
  return [
    'name: capacity',
    `duration: ${seconds}s`,
    'settle: 3s',
    'devices:',
    '  sensors:',
    `    count: ${count}`,
    `    arrive: { curve: constant, over: ${arrive}s }`,
    `    publish: [{ stream: temperature, every: ${every * 1000}ms, size: 200B, model: { kind: sine } }]`,
    'expect:',
    '  - messages.unacknowledged == 0',
    'limits: { lag: 1h }',
    '',
  ].join('\n');
}

async function program(...args: readonly string[]): Promise<void> {
  await promisify(execFile)(process.execPath, [PROGRAM, ...args], {
    maxBuffer: 64 * 1_048_576,
    timeout: PROGRAM_WITHIN_MS,
  });
}
