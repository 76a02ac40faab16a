/**
 * What the model's costs are taken from: the bench's load generator enrolls, connects, sends and revokes at one server, or at the first of
 * two nodes, of which the other does only what the first one causes. Each cost is above what the same processes use at rest, with
 * the same devices connected.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { openConsoleClient } from '../../../console/client.ts';
import { EVENT_LIMITS } from '../../../server/events/open.ts';
import { INTAKE_LIMITS } from '../../../telemetry/intake.ts';
import type { BenchResources } from '../children.ts';
import { LoadGenerator } from '../load-generator.ts';
import { type CountedBatches, fitBatchTimes, fitCosts } from './batches.ts';
import { type Metered, metered, settled, together } from './meter.ts';
import { type Costs, loneliness, type Work } from './model.ts';
import type { CapacityNode, Fleet, Usage } from './nodes.ts';

/** Devices that connect and go, each once. */
const VISITORS = 400;
/** Devices that stay connected. */
const IDLE = 320;
const REST_MS = 8_000;
const ENROLLED = 150;
/** Of visitors, in one turn: some as fast as they go, and some with a pause between two, which share fewer batches of events. */
const STORM = 80;
const APART = 24;
const APART_EVERY_MS = 50;
/** Messages a second, and for how long in one turn: a message alone in its commit, few in one, and many. */
const RATES = [
  { perSecond: 20, seconds: 4 },
  { perSecond: 200, seconds: 3 },
  { perSecond: 2_000, seconds: 2 },
] as const;
/** Rates take turns, because the machine may have other work. */
const TURNS = 3;
const WARM_UP = { perSecond: 2_000, seconds: 5 };
const WARM_UP_VISITORS = 40;
const REVOKED = 200;
/** Events of connects gather as long as their journal has them gather. */
const PRESENCE = { gatherMs: EVENT_LIMITS.window, cycleMs: EVENT_LIMITS.window };

const COMMITS = 'rollcall_telemetry_commits_total';

interface Measured {
  readonly rest: Metered;
  readonly enrollment: Metered;
  readonly apart: Metered;
  readonly storm: Metered;
  readonly rates: readonly (Metered & CountedBatches)[];
  readonly revocation: Metered;
}

export async function calibrate(borrowed: BenchResources, fleet: Fleet): Promise<Omit<Costs, 'baseMiB' | 'deviceKiB'>> {
  const { measured, revocationMs } = await measure(new LoadGenerator(borrowed), fleet);
  return {
    node: workOf(measured, ({ first }) => first),
    other: { ...workOf(measured, ({ others }) => others), restMicros: 0 },
    primary: perNode(
      workOf(measured, ({ primary }) => primary),
      fleet,
    ),
    standby: perNode(
      workOf(measured, ({ standby }) => standby),
      fleet,
    ),
    messages: fitBatchTimes(measured.rates, INTAKE_LIMITS.window),
    presence: PRESENCE,
    stormPerSecond: perSecondOf(measured.storm, STORM),
    revocationMs,
  };
}

async function measure(load: LoadGenerator, fleet: Fleet) {
  const [node] = fleet.nodes as readonly [CapacityNode];
  const port = portOf(node);
  const connect = (count: number, inFlight: number) => load.order({ kind: 'connect', port, count, inFlight });
  const pace = ({ perSecond, seconds }: { readonly perSecond: number; readonly seconds: number }) => {
    const count = perSecond * seconds;
    return load.order({ kind: 'pace', as: 'idle', topic: 'telemetry', spacing: 'random', count, perSecond });
  };
  await enroll(node, load, VISITORS + IDLE);
  await load.order({ kind: 'open', as: 'idle', port, skip: VISITORS, count: IDLE });
  await pace(WARM_UP);
  await connect(WARM_UP_VISITORS, 8);
  await settled();

  const rest = await metered(fleet, () => delay(REST_MS));
  const enrollment = await metered(fleet, () => enroll(node, load, ENROLLED));
  const apart: Metered[] = [];
  const storms: Metered[] = [];
  const turns: (Metered & { readonly batches: number })[][] = RATES.map(() => []);
  for (let turn = 0; turn < TURNS; turn += 1) {
    const oneByOne = async () => {
      for (let index = 0; index < APART; index += 1) {
        await connect(1, 1);
        await delay(APART_EVERY_MS);
      }
    };
    apart.push(await metered(fleet, oneByOne));
    storms.push(await metered(fleet, () => connect(STORM, 8)));
    for (const [index, rate] of RATES.entries()) {
      const before = await fleet.metric(COMMITS);
      const used = await metered(fleet, () => pace(rate));
      turns[index]?.push({ ...used, batches: (await fleet.metric(COMMITS)) - before });
    }
  }
  let samples: readonly number[] = [];
  const revocation = await metered(fleet, async () => {
    const { socketPath } = node;
    const report = await load.order({ kind: 'revokeAll', as: 'idle', socketPath, count: REVOKED });
    samples = report.samples ?? [];
  });
  const rates = turns.map((all, index) => ({
    ...together(all),
    entries:
      (RATES[index] as (typeof RATES)[number]).perSecond * (RATES[index] as (typeof RATES)[number]).seconds * TURNS,
    batches: all.reduce((sum, { batches }) => sum + batches, 0),
  }));
  const measured: Measured = {
    ...{ rest, enrollment, rates, revocation },
    apart: together(apart),
    storm: together(storms),
  };
  return { measured, revocationMs: (samples[0] ?? Number.NaN) / REVOKED };
}

function perSecondOf({ workSeconds }: Metered, inTurn: number): number {
  return (inTurn * TURNS) / workSeconds;
}

/** Each cost of one kind of process. */
function workOf({ rest, enrollment, apart, storm, rates, revocation }: Measured, pick: (usage: Usage) => number): Work {
  const restMicros = pick(rest.usage) / rest.seconds;
  const above = (used: Metered) => pick(used.usage) - restMicros * used.seconds;
  const connectMicros = Math.max(0, above(storm) / (STORM * TURNS));
  const alone = loneliness(
    { presence: PRESENCE, stormPerSecond: perSecondOf(storm, STORM) },
    perSecondOf(apart, APART),
  );
  const more = above(apart) / (APART * TURNS) - connectMicros;
  const messages = fitCosts(rates.map((used) => ({ each: used.entries, batches: used.batches, micros: above(used) })));
  return {
    restMicros,
    enrollmentMicros: Math.max(0, above(enrollment) / ENROLLED),
    connectMicros,
    presenceMicros: alone === 0 ? 0 : Math.max(0, more / alone),
    messageMicros: messages.each,
    commitMicros: messages.batch,
    revocationMicros: Math.max(0, above(revocation) / REVOKED),
  };
}

/** What the database does at rest is for its nodes. */
function perNode(work: Work, { nodes }: Fleet): Work {
  return { ...work, restMicros: work.restMicros / nodes.length };
}

/** Each node a new process with so many devices: what it has after it enrolled and connected them, and stored messages of them. */
export interface NodeMemory {
  readonly devices: number;
  readonly bytes: number;
}

const MEMORY_MESSAGES = { perSecond: 1_000, seconds: 8 };

export async function measureMemory(
  borrowed: BenchResources,
  fleet: Fleet,
  counts: readonly number[],
): Promise<readonly NodeMemory[]> {
  const load = new LoadGenerator(borrowed);
  let skip = 0;
  for (const [index, node] of fleet.nodes.entries()) {
    const [as, count] = [`of ${index}`, counts[index] as number];
    const { perSecond, seconds } = MEMORY_MESSAGES;
    await enroll(node, load, count);
    await load.order({ kind: 'open', as, port: portOf(node), skip, count });
    await load.order({
      ...{ kind: 'pace', as, topic: 'telemetry', spacing: 'random' },
      ...{ count: perSecond * seconds, perSecond },
    });
    skip += count;
  }
  await settled();
  const bytes = await fleet.resident();
  return bytes.map((of, index) => ({ devices: counts[index] as number, bytes: of }));
}

export function memoryCosts(few: NodeMemory, many: NodeMemory): Pick<Costs, 'baseMiB' | 'deviceKiB'> {
  const perDevice = (many.bytes - few.bytes) / (many.devices - few.devices);
  return { baseMiB: (few.bytes - few.devices * perDevice) / 1_048_576, deviceKiB: perDevice / 1024 };
}

async function enroll(node: CapacityNode, load: LoadGenerator, count: number): Promise<void> {
  const operator = openConsoleClient({ socketPath: node.socketPath });
  const { text: token } = await operator.createToken({ uses: count });
  await operator.close();
  const order = { kind: 'enroll', port: node.enrollPort, token, connections: 'new', devices: 'stored' } as const;
  await load.order({ ...order, count, inFlight: 8 });
}

function portOf({ mqttUrl }: CapacityNode): number {
  return Number(new URL(mqttUrl).port);
}
