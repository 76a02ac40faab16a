/** What a node tells the keeper, and when it waits for it. */

import { expect, it, onTestFinished } from 'vitest';
import { message } from '../../test/behaviour/telemetry-messages.ts';
import { NOTHING_COUNTED } from '../intake.ts';
import type { NodeReport } from './node-calls.ts';
import { NodeReports } from './node-reports.ts';

const MIB = 1_048_576;

/** Reports to a keeper that counts when the test says so. */
function reportsTo({ isCounted = false, step = 1000 } = {}) {
  const sent: NodeReport[] = [];
  const unanswered: (() => void)[] = [];
  let isFinished = false;
  let arrived = Promise.withResolvers<void>();
  const reports = new NodeReports({
    isCounted,
    step,
    counters: () => NOTHING_COUNTED,
    newestPosition: () => 7,
    send: (report) => {
      sent.push(report);
      arrived.resolve();
      arrived = Promise.withResolvers();
      return isFinished ? Promise.resolve() : new Promise((resolve) => unanswered.push(resolve));
    },
  });
  const answer = async () => {
    unanswered.shift()?.();
    await Promise.resolve();
    await Promise.resolve();
  };
  onTestFinished(() => {
    isFinished = true;
    for (const resolve of unanswered) resolve();
    return reports.close();
  });
  return { reports, sent, answer, arrived: () => arrived.promise };
}

it('a node stores nothing more when the keeper has not counted 64 MiB, until it has', async () => {
  const { reports, arrived, answer } = reportsTo();
  const large = message('pump-1', Buffer.alloc(MIB));
  const first = arrived();
  reports.stored([large], []);
  await first;
  reports.stored(Array<typeof large>(62).fill(large), []);
  reports.expectConfirmed();
  reports.stored([large], []);
  expect(() => reports.expectConfirmed()).toThrow(expect.objectContaining({ code: 'unavailable' }));
  const second = arrived();
  await answer();
  reports.expectConfirmed();
  reports.stored([large], []);
  expect(() => reports.expectConfirmed()).toThrow();
  await second;
  await answer();
  reports.expectConfirmed();
});

it('a device that stored more than a step is reported at once, others with a report of all', async () => {
  const { reports, sent, arrived, answer } = reportsTo({ isCounted: true, step: 500 });
  const first = arrived();
  reports.stored([{ ...message('pump-1', 'x'.repeat(600)), group: 'north' }, message('pump-2', 'small')], []);
  reports.stored([message('pump-3', 'repeated')], [0]);
  await first;
  expect(sent[0]?.devices.map(({ name, messages }) => [name, messages])).toEqual([['pump-1', 1]]);
  expect(sent[0]?.groups.map(({ name, messages }) => [name, messages])).toEqual([['north', 1]]);
  expect(sent[0]).toMatchObject({ newestPosition: 7, storedBytes: 613 });
  await answer();
  const closing = reports.close();
  await Promise.resolve();
  await Promise.resolve();
  await answer();
  await closing;
  expect(sent.at(-1)?.devices.map(({ name }) => name)).toEqual(['pump-2']);
});
