/** The costs of the model, from what was counted (`observe.ts`, `memory.ts`). Pure. */

import { EVENT_LIMITS } from '../../../server/events/open.ts';
import { INTAKE_LIMITS } from '../../../telemetry/intake.ts';
import { type Gathering, gatheringOf, shareOfBatches } from './batches.ts';
import { fitCosts, type Observed } from './fit.ts';
import type { NodeMemory } from './memory.ts';
import type { Metered } from './meter.ts';
import type { Costs, Work, WorkOfNodes } from './model.ts';
import type { Usage } from './nodes.ts';
import type { CountedMessages, Observations } from './observe.ts';

/** `two`: what two nodes did; undefined for a server with a store of its own. */
export function costsOf(one: Observations, two: Observations | undefined, memory: readonly NodeMemory[]): Costs {
  const all = two === undefined ? [one] : [one, two];
  // An event waits for its window and is written, as a message that comes alone is, which waits for a window of its own.
  const eventsMs = mean(all.map(({ aloneMs }) => EVENT_LIMITS.window + Math.max(0, aloneMs - INTAKE_LIMITS.window)));
  const worksOf = (of: Observations, pick: (usage: Usage) => number) => workOf(of, pick, eventsMs);
  const own = (pick: (usage: Usage) => number) => all.flatMap((of) => worksOf(of, pick));
  /** Of a process that works for all nodes: that of two does what it does for one, and what the other one adds. */
  const shared = (pick: (usage: Usage) => number): WorkOfNodes => {
    const [alone, both] = [worksOf(one, pick), two === undefined ? [] : worksOf(two, pick)];
    const costs = fitCosts([
      ...alone.map(({ counts, micros }) => ({ counts: [...counts, ...counts.map(() => 0)], micros })),
      ...both.map(({ counts, micros }) => ({ counts: [...counts, ...counts], micros })),
    ]);
    return { ofOne: workFrom(costs), ofEachOther: workFrom(costs.slice(KINDS)) };
  };
  const rates = one.messages.map((_, index) => all.flatMap(({ messages }) => messages[index] ?? []));
  return {
    nodes: {
      ofOne: workFrom(fitCosts(own(({ first }) => first))),
      ofEachOther: workFrom(two === undefined ? [] : fitCosts(worksOf(two, ({ others }) => others))),
    },
    primary: shared(({ primary }) => primary),
    standby: shared(({ standby }) => standby),
    gatherings: rates.map(gatheringAtRate),
    eventsMs,
    revocationMs: (two ?? one).revocationMs,
    ...memoryCosts(memory),
  };
}

/** Of costs, in the order of `workFrom`. */
const KINDS = 7;

function workFrom(costs: readonly number[]): Work {
  const [rest = 0, enrollment = 0, connect = 0, events = 0, message = 0, commit = 0, revocation = 0] = costs;
  return {
    restMicros: rest,
    enrollmentMicros: enrollment,
    connectMicros: connect,
    eventsMicros: events,
    messageMicros: message,
    commitMicros: commit,
    revocationMicros: revocation,
  };
}

/** How much of each there was, in the same order. */
function workOf(of: Observations, pick: (usage: Usage) => number, eventsMs: number): readonly Observed[] {
  const observed = ({ usage, seconds }: Metered, ...counts: readonly number[]): Observed => {
    return { counts: [seconds, ...counts], micros: pick(usage) };
  };
  return [
    observed(of.rest, 0, 0, 0, 0, 0, 0),
    observed(of.enrollments, of.enrollments.count, 0, 0, 0, 0, 0),
    ...of.connects.map((one) =>
      observed(one, 0, one.count, one.count * shareOfBatches(one.perSecond, eventsMs), 0, 0, 0),
    ),
    ...of.messages.map((one) => observed(one, 0, 0, 0, one.count, one.commits, 0)),
    observed(of.revocations, 0, 0, 0, 0, 0, of.revocations.count),
  ];
}

function gatheringAtRate(counted: readonly CountedMessages[]): Gathering {
  const [entries, batches] = [sum(counted.map(({ count }) => count)), sum(counted.map(({ commits }) => commits))];
  const { perSecond, gatherMs } = gatheringOf({
    entries,
    batches,
    seconds: sum(counted.map(({ workSeconds }) => workSeconds)),
  });
  // Of few messages chance makes more of a batch than its window.
  return { perSecond, gatherMs: Math.max(INTAKE_LIMITS.window, gatherMs) };
}

/** A line through processes with few devices and such with many. */
function memoryCosts(memory: readonly NodeMemory[]): Pick<Costs, 'baseMiB' | 'deviceKiB'> {
  const [devices, bytes] = [mean(memory.map((one) => one.devices)), mean(memory.map((one) => one.bytes))];
  const spread = sum(memory.map((one) => (one.devices - devices) ** 2));
  const perDevice = sum(memory.map((one) => (one.devices - devices) * (one.bytes - bytes))) / spread;
  return { baseMiB: (bytes - devices * perDevice) / 1_048_576, deviceKiB: perDevice / 1024 };
}

function mean(numbers: readonly number[]): number {
  return sum(numbers) / numbers.length;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
