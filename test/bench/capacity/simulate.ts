/**
 * A run of the simulator that the model has to foretell: one process for each node, with its part of the devices, all of which connect and
 * then send at a steady rate. Devices are enrolled before, and a short run has code compiled; memory is measured in another one afterwards.
 * Devices connect and send at random times.
 */

import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { BenchResources } from '../children.ts';
import { MESSAGES as MEMORY_MESSAGES, residentBytes } from './memory.ts';
import { metered, settled } from './meter.ts';
import type { Run } from './model.ts';
import { type Fleet, PROGRAM } from './nodes.ts';

const EVERY_SECONDS = 2;
const ARRIVE_SECONDS = 10;
/** Before: code is compiled. */
const WARM_UP_SECONDS = 20;
/** Afterwards, because collections of garbage have an effect on what follows: as fast as while memory is measured for the costs. */
const MEMORY_SECONDS = 15;
const MEMORY_SECONDS_AT_MOST = 60;
const QUICKLY = { arrive: 4 };
const BEFORE_MEMORY_MS = 3_000;
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
  // What is left of enrollments in memory depends on how many came at once.
  await fleet.restart();
  const play = async (one: Play) => {
    const playing = fleet.nodes.map((node, index) => {
      const scenario = join(borrowed.directory, `capacity-${index}.yaml`);
      writeFileSync(scenario, scenarioText(each, one, index + 1));
      return playOn(node, scenario, parts[index] as Part);
    });
    await Promise.all(playing);
  };
  const every = each / MEMORY_MESSAGES.perSecond;
  const playQuickly = (length: number) => play({ ...QUICKLY, every, seconds: length });
  await playQuickly(WARM_UP_SECONDS);
  await settled();

  const commits = await fleet.metric('rollcall_telemetry_commits_total');
  const enrollments = await fleet.metric('rollcall_enrollments_total');
  const used = await metered(fleet, () => play({ seconds, every: EVERY_SECONDS, arrive: ARRIVE_SECONDS }));
  const values = parts.map(({ result }) => (JSON.parse(readFileSync(result, 'utf8')) as Result).values);
  const sum = (name: string) => values.reduce((total, one) => total + (one[name] ?? 0), 0);
  const commitsAfter = await fleet.metric('rollcall_telemetry_commits_total');
  const enrollmentsAfter = await fleet.metric('rollcall_enrollments_total');
  const resident = await residentWhile(fleet, each * fleet.nodes.length, playQuickly);
  for (const { identities } of parts) rmSync(identities, { recursive: true });
  return {
    nodes,
    devices: each * fleet.nodes.length,
    seconds: used.seconds,
    enrollments: enrollmentsAfter - enrollments,
    connects: sum('devices.connected'),
    connectSeconds: ARRIVE_SECONDS,
    messages: sum('messages.acknowledged'),
    messageSeconds: seconds,
    unacknowledged: sum('messages.unacknowledged'),
    commits: commitsAfter - commits,
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

/** Of each node while all devices are connected and send; a slow machine needs a longer time for that. */
async function residentWhile(
  fleet: Fleet,
  devices: number,
  play: (seconds: number) => Promise<void>,
): Promise<readonly number[]> {
  for (let seconds = MEMORY_SECONDS; seconds <= MEMORY_SECONDS_AT_MOST; seconds *= 2) {
    let hasEnded = false;
    const playing = play(seconds).finally(() => {
      hasEnded = true;
    });
    playing.catch(() => {}); // awaited below
    let connected = 0;
    while (!hasEnded && connected < devices) {
      await delay(200);
      connected = await fleet.metric('rollcall_sessions');
    }
    if (connected >= devices) {
      await delay(BEFORE_MEMORY_MS);
      const resident = await residentBytes(fleet);
      await playing;
      return resident;
    }
    await playing;
  }
  throw new Error(`expected ${devices} connected devices, found fewer`);
}

/** With a seed of its own, devices of one node do nothing at the times of those of another. */
function scenarioText(count: number, { seconds, every, arrive }: Play, seed: number): string {
  return [
    'name: capacity',
    `seed: ${seed}`,
    `duration: ${seconds}s`,
    'settle: 3s',
    'devices:',
    '  sensors:',
    `    count: ${count}`,
    `    arrive: { curve: poisson, perSecond: ${count / arrive} }`,
    `    publish: [{ stream: temperature, every: ${every * 1000}ms, spacing: poisson, size: 200B, model: { kind: sine } }]`,
    'expect:',
    '  - messages.unacknowledged == 0',
    'limits: { lag: 1h }',
    '',
  ].join('\n');
}

/** An interrupted run ends them. */
const programs = new AbortController();

export function endPrograms(): void {
  programs.abort();
}

async function program(...args: readonly string[]): Promise<void> {
  await promisify(execFile)(process.execPath, [PROGRAM, ...args], {
    maxBuffer: 64 * 1_048_576,
    timeout: PROGRAM_WITHIN_MS,
    signal: programs.signal,
  });
}
