/** The journal alone: the time of queries and the cost of messages while it grows. Without server and peers. */

import { DEVICES, GrowingJournal, type Stage } from '../journal/growing.ts';
import { type IntakeBurst, measureIntakes } from '../journal/intakes.ts';
import type { Bench } from './bench.ts';
import type { Sizes } from './options.ts';
import type { Result } from './results.ts';
import { percentile, spread } from './statistics.ts';

const LAST_WITHIN_MS = 20;
const PUBACK_WITHIN_MS = 25;
const GROWS_AT_MOST = 1.3;

/** Of the largest size. */
const STAGES = [0.1, 0.3, 1];
const LATENCY_RATE = 10_000;
const LATENCY_SECONDS = 5;
const EXPORTED = 500_000;

/** Threads with an intake of their own, beside the intake on the main thread. */
const THREADS = [1, 2, 4];
const THREADS_WITH_GOAL = 2;
const IN_THREADS_AT_MOST = 1.25;
const IN_FLIGHT = 10;
const THREAD_WARM_UPS = 8;
/** In units of what the options say: messages without a network are cheap. */
const THREAD_MESSAGES = 10;

export async function journal(bench: Bench): Promise<readonly Result[]> {
  return [...(await growth(bench)), ...(await intakes(bench.sizes))];
}

async function growth({ sizes }: Bench): Promise<readonly Result[]> {
  const most = sizes.journalMessages;
  const growing = await GrowingJournal.open(most);
  try {
    const stages: Stage[] = [];
    for (const part of STAGES) stages.push(await growing.growTo(Math.round(most * part)));
    const exported = await growing.exportRate(Math.min(EXPORTED, most));
    const { p50, p99, loopP99, loopLongest } = await growing.latency(LATENCY_RATE, LATENCY_SECONDS);
    const largest = stages.at(-1) as Stage;
    const of = (row: string, unit: string, value: number, more: Partial<Result> = {}): Result => ({
      row: `journal of ${most / 1e6} million messages: ${row}`,
      unit,
      figures: { rollcall: { median: value, low: value, high: value } },
      ratios: {},
      goals: [],
      remarks: [],
      ...more,
    });
    const within = (value: number, bound: number, text: string) => ({
      goals: [{ text, reached: value <= bound }],
    });
    const grows = (pick: (stage: Stage) => number) => {
      const ratio = pick(largest) / pick(stages[0] as Stage);
      const text = stages.map((stage) => `${pick(stage).toFixed(2)} at ${stage.messages / 1e6} million`).join(', ');
      return {
        goals: [{ text: `at most ${GROWS_AT_MOST} × of a tenth of it`, reached: ratio <= GROWS_AT_MOST }],
        remarks: [text],
      };
    };
    return [
      of(
        'CPU per message stored',
        'µs CPU',
        largest.cpuPerMessage,
        grows((stage) => stage.cpuPerMessage),
      ),
      of(
        'a range of one device',
        'ms',
        largest.range,
        grows((stage) => stage.range),
      ),
      of(
        'the newest 100 of one device',
        'ms',
        largest.newest,
        grows((stage) => stage.newest),
      ),
      of(
        `last value of ${DEVICES} devices`,
        'ms',
        largest.lastOfAll,
        within(largest.lastOfAll, LAST_WITHIN_MS, `under ${LAST_WITHIN_MS} ms`),
      ),
      of('export as NDJSON', 'messages/s', exported),
      of(`acknowledged at ${LATENCY_RATE} per second, p50`, 'ms', p50),
      of(`acknowledged at ${LATENCY_RATE} per second, p99`, 'ms', p99, {
        ...within(p99, PUBACK_WITHIN_MS, `under ${PUBACK_WITHIN_MS} ms`),
        remarks: [
          `event loop late by ${loopP99.toFixed(1)} ms (p99), ${loopLongest.toFixed(1)} ms at most, this measurement included`,
        ],
      }),
    ];
  } finally {
    await growing.close();
  }
}

async function intakes({ publishers: devices, messages, rounds }: Sizes): Promise<readonly Result[]> {
  const bursts = await measureIntakes({
    threads: [0, ...THREADS],
    devices,
    inFlight: IN_FLIGHT,
    messages: messages * THREAD_MESSAGES,
    rounds,
    warmUps: THREAD_WARM_UPS,
  });
  const onMain = bursts.get(0) ?? [];
  const median = (of: readonly number[]) => percentile(of, 50);
  return [...bursts].map(([threads, own]) => {
    const over = (pick: (burst: IntakeBurst) => number) =>
      median(own.map((burst, round) => pick(burst) / pick(onMain[round] as IntakeBurst)));
    const ratio = over(({ cpu }) => cpu);
    const goal = { text: `at most ${IN_THREADS_AT_MOST} × of the main thread`, reached: ratio <= IN_THREADS_AT_MOST };
    const perSecond = median(own.map((burst) => burst.perSecond));
    return {
      row: `durable message without a network, intake ${threads === 0 ? 'on the main thread' : `in ${threads} thread${threads === 1 ? '' : 's'}`}`,
      unit: 'µs CPU',
      figures: { rollcall: spread([own.map(({ cpu }) => cpu)]) },
      ratios: {},
      goals: threads > 0 && threads <= THREADS_WITH_GOAL ? [goal] : [],
      perSecond: { rollcall: perSecond },
      remarks:
        threads === 0
          ? []
          : [
              `${ratio.toFixed(2)} × of the CPU and ${over((burst) => burst.perSecond).toFixed(2)} × of the messages per second of the main thread`,
            ],
    };
  });
}
