/** A thread that dies: its callers are told, and the next call finds another. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { Thread } from './worker.ts';

function threadOf(handlers: string, opening: unknown = 'anything') {
  const file = join(temporaryDirectory(), 'program.ts');
  const program = new URL('./worker-program.ts', import.meta.url).href;
  writeFileSync(file, `import { answerCalls } from '${program}';\nlet calls = 0;\nanswerCalls({ ${handlers} });`);
  const deaths: unknown[] = [];
  const thread = new Thread({ program: pathToFileURL(file), opening, died: (error) => deaths.push(error) });
  onTestFinished(() => thread.close());
  return { thread, deaths };
}

const COUNTING = `
  open: () => undefined,
  count: () => ({ value: (calls += 1), transfer: [] }),
  die: () => { throw setImmediate(() => { throw new Error('died of the test'); }) && process.exit(3); },
  close: () => undefined`;

it('answers calls in order, and tells those who wait when it dies; the next call starts another', async () => {
  const { thread, deaths } = threadOf(COUNTING);
  expect(await Promise.all([thread.call('count'), thread.call('count')])).toEqual([1, 2]);
  const lost = await Promise.allSettled([thread.call('die'), thread.call('count')]);
  expect(lost.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected']);
  expect(lost[1]).toMatchObject({ reason: { code: 'internal' } });
  expect(deaths).toHaveLength(1);
  expect(await thread.call('count')).toBe(1);
});

it('passes on the Problem of its program, and what keeps it from opening', async () => {
  const problem = `Object.assign(new (class extends Error {})('no'), {})`;
  const { thread } = threadOf(`open: () => undefined, fail: () => { throw ${problem}; }, close: () => undefined`);
  await expect(thread.call('fail')).rejects.toMatchObject({ code: 'internal', reason: 'no' });
  await expect(thread.call('nothing')).rejects.toMatchObject({ reason: expect.stringContaining('nothing') });
  const broken = threadOf(`open: () => { throw new Error('shut'); }`);
  await expect(broken.thread.call('count')).rejects.toMatchObject({ reason: 'shut' });
  await expect(broken.thread.call('count')).rejects.toMatchObject({ reason: 'shut' });
  expect(broken.deaths).toEqual([]);
});

it('takes no call once it is closed', async () => {
  const { thread, deaths } = threadOf(COUNTING);
  await thread.call('count');
  await thread.close();
  await expect(thread.call('count')).rejects.toMatchObject({ code: 'unavailable' });
  expect(deaths).toEqual([]);
});
