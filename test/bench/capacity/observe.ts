/**
 * What the model's costs are taken from: the bench's load generator enrolls, connects, sends and revokes at one server, at the only node of a
 * database, or at the first of two nodes, of which the other does only what the first one causes. Returns what was counted, from which
 * `costs.ts` takes the costs.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { openConsoleClient } from '../../../console/client.ts';
import type { BenchResources } from '../children.ts';
import { LoadGenerator } from '../load-generator.ts';
import { type Metered, metered, settled, together } from './meter.ts';
import type { CapacityNode, Fleet } from './nodes.ts';

/** Work that was done so many times. */
export interface Counted extends Metered {
  readonly count: number;
}

export interface CountedConnects extends Counted {
  /** While they came. */
  readonly perSecond: number;
}

export interface CountedMessages extends Counted {
  readonly commits: number;
}

export interface Observations {
  readonly rest: Metered;
  readonly enrollments: Counted;
  /** At several rates, as are messages. */
  readonly connects: readonly CountedConnects[];
  readonly messages: readonly CountedMessages[];
  readonly revocations: Counted;
  /** Median of a message that comes alone, until its PUBACK. */
  readonly aloneMs: number;
  /** Of one device in an order for many, until the proof is there. */
  readonly revocationMs: number;
}

/** Devices that connect and go, again and again. */
const VISITORS = 160;
/** Devices that stay connected. */
const IDLE = 320;
const REST_MS = 8_000;
const ENROLLED = 150;
/** Of visitors, in one turn: with random pauses of so many milliseconds on average, one right after the other, and many at once. */
const CONNECTS = [
  { count: 24, pauseMs: 50 },
  { count: 40, pauseMs: 4 },
  { count: 80, pauseMs: undefined },
] as const;
/** Between the last connect and the first disconnect: events of both share no batch. */
const STAY_MS = 200;
/** Messages a second, and for how long in one turn: from a message alone in its commit to many in one. */
const RATES = [
  { perSecond: 20, seconds: 3 },
  { perSecond: 80, seconds: 3 },
  { perSecond: 500, seconds: 2 },
  { perSecond: 2_000, seconds: 2 },
] as const;
/** All take turns, because the machine may have other work. */
const TURNS = 3;
const WARM_UP = { perSecond: 2_000, seconds: 4 };
const REVOKED = 200;

const COMMITS = 'rollcall_telemetry_commits_total';

export async function observe(borrowed: BenchResources, fleet: Fleet): Promise<Observations> {
  const load = new LoadGenerator(borrowed);
  const [node] = fleet.nodes as readonly [CapacityNode];
  const port = portOf(node);
  const pace = ({ perSecond, seconds }: { readonly perSecond: number; readonly seconds: number }) => {
    const count = perSecond * seconds;
    return load.order({ kind: 'pace', as: 'idle', topic: 'telemetry', spacing: 'random', count, perSecond });
  };
  /** Returns in how many seconds they came. */
  const connect = async (count: number, pauseMs?: number): Promise<number> => {
    const began = performance.now();
    const order = { kind: 'open', as: 'visitors', port } as const;
    if (pauseMs === undefined) await load.order({ ...order, count });
    for (let left = pauseMs === undefined ? 0 : count; left > 0; left -= 1) {
      await load.order({ ...order, count: 1 });
      await delay(-Math.log(1 - Math.random()) * (pauseMs as number));
    }
    const seconds = (performance.now() - began) / 1000;
    await delay(STAY_MS);
    await load.order({ kind: 'close', as: 'visitors' });
    return seconds;
  };
  await enroll(node, load, VISITORS + IDLE);
  await load.order({ kind: 'open', as: 'idle', port, skip: VISITORS, count: IDLE });
  await pace(WARM_UP);
  // Twice: what is new of a device is stored at its first connect.
  await connect(VISITORS);
  await connect(VISITORS);
  await settled();

  const rest = await metered(fleet, () => delay(REST_MS));
  const enrollments = { ...(await metered(fleet, () => enroll(node, load, ENROLLED))), count: ENROLLED };
  const connects: CountedConnects[][] = CONNECTS.map(() => []);
  const messages: CountedMessages[][] = RATES.map(() => []);
  const alone: number[] = [];
  for (let turn = 0; turn < TURNS; turn += 1) {
    for (const [index, { count, pauseMs }] of CONNECTS.entries()) {
      let seconds = 0;
      const used = await metered(fleet, async () => {
        seconds = await connect(count, pauseMs);
      });
      connects[index]?.push({ ...used, count, perSecond: count / seconds });
    }
    for (const [index, rate] of RATES.entries()) {
      const before = await fleet.metric(COMMITS);
      const used = await metered(fleet, async () => {
        const { samples = [] } = await pace(rate);
        if (index === 0) alone.push(...samples);
      });
      const commits = (await fleet.metric(COMMITS)) - before;
      messages[index]?.push({ ...used, count: rate.perSecond * rate.seconds, commits });
    }
  }
  let revokedMs = Number.NaN;
  const revoked = await metered(fleet, async () => {
    const { socketPath } = node;
    const report = await load.order({ kind: 'revokeAll', as: 'idle', socketPath, count: REVOKED });
    revokedMs = report.samples?.[0] ?? Number.NaN;
  });
  return {
    rest,
    enrollments,
    connects: connects.map(connectsOf),
    messages: messages.map(messagesOf),
    revocations: { ...revoked, count: REVOKED },
    aloneMs: alone.sort((one, other) => one - other)[alone.length >> 1] as number,
    revocationMs: revokedMs / REVOKED,
  };
}

function connectsOf(turns: readonly CountedConnects[]): CountedConnects {
  const count = sumOf(turns.map((turn) => turn.count));
  return { ...together(turns), count, perSecond: count / sumOf(turns.map((turn) => turn.count / turn.perSecond)) };
}

function messagesOf(turns: readonly CountedMessages[]): CountedMessages {
  const [count, commits] = [sumOf(turns.map((turn) => turn.count)), sumOf(turns.map((turn) => turn.commits))];
  return { ...together(turns), count, commits };
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, one) => sum + one, 0);
}

export async function enroll(node: CapacityNode, load: LoadGenerator, count: number): Promise<void> {
  const operator = openConsoleClient({ socketPath: node.socketPath });
  const { text: token } = await operator.createToken({ uses: count });
  await operator.close();
  const order = { kind: 'enroll', port: node.enrollPort, token, connections: 'new', devices: 'stored' } as const;
  await load.order({ ...order, count, inFlight: 8 });
}

export function portOf({ mqttUrl }: CapacityNode): number {
  return Number(new URL(mqttUrl).port);
}
