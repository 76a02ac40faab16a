/** A forwarder with an interval: what is in its deliveries, and when they are. */

import { expect, it } from 'vitest';
import { JOURNAL_BEGIN, openTestJournal } from '../../test/fixtures/journal.ts';
import { ScriptedTarget, startSink } from '../../test/fixtures/sink.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { TargetDown } from './target.ts';

const EVERY = 300_000;

/** A sink whose clock is the test's; `intervals` are the waits that it began, each with what ends it. */
async function sinkWithInterval() {
  const journal = await openTestJournal();
  const target = new ScriptedTarget();
  const clock = { now: JOURNAL_BEGIN + 1_000 };
  const intervals: { readonly ms: number; readonly end: () => void }[] = [];
  const options = {
    ...{ journal, target, every: EVERY, now: () => clock.now },
    waitForInterval: (ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        intervals.push({
          ms,
          end: () => {
            clock.now += ms;
            resolve();
          },
        });
      }),
  };
  const directory = temporaryDirectory();
  const sink = await startSink({ ...options, directory });
  const isWaiting = async (count: number) => {
    await sink.until(() => intervals.length === count);
    return intervals[count - 1] as (typeof intervals)[number];
  };
  return { journal, target, clock, sink, isWaiting, reopen: () => startSink({ ...options, directory }) };
}

it('the first event is delivered at once, and all of the interval after it in one digest with their number', async () => {
  const { journal, target, clock, isWaiting } = await sinkWithInterval();
  await journal.fill(['a'], 1);
  const first = await isWaiting(1);
  expect([target.positions, first.ms]).toEqual([[1], EVERY]);
  for (let burst = 0; burst < 3; burst += 1) await journal.fill(['a', 'b'], 400, burst * 400);
  expect(target.batches).toHaveLength(1);
  first.end();
  await isWaiting(2);
  expect(target.batches).toHaveLength(2);
  expect(target.batches[1]?.map(({ position }) => position)).toEqual(Array.from({ length: 200 }, (_, n) => n + 2));
  expect(target.digests[1]).toMatchObject({ total: 2_400, counts: new Map([['climate', 2_400]]) });
  clock.now += 1;
});

it('the first event after a quiet interval is delivered at once', async () => {
  const { journal, target, sink, isWaiting } = await sinkWithInterval();
  await journal.fill(['a'], 1);
  (await isWaiting(1)).end();
  await sink.caughtUp();
  await journal.fill(['a'], 1, 1);
  await isWaiting(2);
  expect(target.positions).toEqual([1, 2]);
});

it('what waits for the end of an interval is delivered after a restart', async () => {
  const { journal, target, sink, isWaiting, reopen } = await sinkWithInterval();
  await journal.fill(['a'], 1);
  await isWaiting(1);
  await journal.fill(['a'], 5, 1);
  await sink.forwarder.close(100);
  expect(target.batches).toHaveLength(1);
  const { until } = await reopen();
  await until(({ position }) => position === 6);
  expect(target.positions).toEqual([1, 2, 3, 4, 5, 6]);
});

it('a digest that its target does not take now is tried again whole', async () => {
  const { journal, target, isWaiting } = await sinkWithInterval();
  let isWell = false;
  target.answer = () => {
    if (!isWell) throw new TargetDown('away');
    return [];
  };
  await journal.fill(['a'], 300);
  await expect.poll(() => target.batches.length).toBeGreaterThan(2);
  isWell = true;
  await isWaiting(1);
  expect(new Set(target.digests.map(({ total }) => total))).toEqual(new Set([300]));
});

it('nothing is delivered about events that are older than a day, and the notice counts them', async () => {
  const { journal, target, clock, sink } = await sinkWithInterval();
  clock.now = JOURNAL_BEGIN + 3 + 86_400_000;
  await journal.fill(['a'], 4);
  const { notice } = await sink.until(({ position }) => position === 4);
  expect(target.positions).toEqual([3, 4]);
  expect(notice?.text).toBe('2 events were older than a day, and nothing was sent about them');
});
