/** The journal alone: the time of queries and the cost of messages while it grows. Without server and peers. */

import { DEVICES, GrowingJournal, type Stage } from '../journal/growing.ts';
import type { Bench } from './bench.ts';
import type { Result } from './results.ts';

const LAST_WITHIN_MS = 20;
const PUBACK_WITHIN_MS = 25;
const GROWS_AT_MOST = 1.3;

/** Of the largest size. */
const STAGES = [0.1, 0.3, 1];
const LATENCY_RATE = 10_000;
const LATENCY_SECONDS = 5;
const EXPORTED = 500_000;

export async function journal({ sizes }: Bench): Promise<readonly Result[]> {
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
    const growth = (pick: (stage: Stage) => number) => {
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
        growth((stage) => stage.cpuPerMessage),
      ),
      of(
        'a range of one device',
        'ms',
        largest.range,
        growth((stage) => stage.range),
      ),
      of(
        'the newest 100 of one device',
        'ms',
        largest.newest,
        growth((stage) => stage.newest),
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
