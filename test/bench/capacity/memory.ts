/** Memory of processes to which devices have connected repeatedly, and which store messages of them. */

import { setTimeout as delay } from 'node:timers/promises';
import type { BenchResources } from '../children.ts';
import { LoadGenerator } from '../load-generator.ts';
import { settled } from './meter.ts';
import type { Fleet } from './nodes.ts';
import { enroll, portOf } from './observe.ts';

export interface NodeMemory {
  readonly devices: number;
  readonly bytes: number;
}

/** Of each node while messages come: the rate has an effect on how much V8 keeps. */
export const MESSAGES = { perSecond: 1_000, seconds: 7 };
/** In which code is compiled and the heap grows. */
const BEFORE_MS = 3_000;
/** A process that has had all of them come back keeps more than one to which they came once. */
const CONNECTS = 4;

/** So many devices on each node. */
export async function measureMemory(
  borrowed: BenchResources,
  fleet: Fleet,
  counts: readonly number[],
): Promise<readonly NodeMemory[]> {
  const found: NodeMemory[] = [];
  const load = new LoadGenerator(borrowed);
  for (const [index, node] of fleet.nodes.entries()) await enroll(node, load, counts[index] as number);
  // What is left of enrollments in memory depends on how many came at once.
  await fleet.restart();
  let skip = 0;
  for (const [index, node] of fleet.nodes.entries()) {
    const devices = counts[index] as number;
    const { perSecond, seconds } = MESSAGES;
    const count = perSecond * seconds;
    let bytes = 0;
    for (let connect = 1; connect <= CONNECTS; connect += 1) {
      const as = `of ${index}`;
      await load.order({ kind: 'open', as, port: portOf(node), skip, count: devices });
      await settled();
      const sent = load.order({ kind: 'pace', as, topic: 'telemetry', spacing: 'random', count, perSecond });
      sent.catch(() => {}); // awaited below
      await delay(BEFORE_MS);
      if (connect === CONNECTS) bytes = (await residentBytes(fleet))[index] as number;
      await sent;
      if (connect < CONNECTS) await load.order({ kind: 'close', as });
    }
    skip += devices;
    found.push({ devices, bytes });
  }
  return found;
}

const SAMPLES = 3;

/** Of each node: the median of a few, each after a collection of garbage. */
export async function residentBytes(fleet: Fleet): Promise<readonly number[]> {
  const samples: (readonly number[])[] = [];
  for (let taken = 0; taken < SAMPLES; taken += 1) samples.push(await fleet.resident());
  return fleet.nodes.map((_, index) => {
    const sorted = samples.map((sample) => sample[index] as number).sort((one, other) => one - other);
    return sorted[SAMPLES >> 1] as number;
  });
}
