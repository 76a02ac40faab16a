/** Calls to a worker worker, its death, and its end. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { WorkerClient } from './worker.ts';

function workerOf(handlers: string, endedCode: 'unavailable' | 'internal' = 'internal') {
  const file = join(temporaryDirectory(), 'program.ts');
  const program = new URL('./worker-program.ts', import.meta.url).href;
  writeFileSync(file, `import { answerCalls } from '${program}';\nlet calls = 0;\nanswerCalls({ ${handlers} });`);
  const deaths: unknown[] = [];
  const worker = new WorkerClient({
    program: pathToFileURL(file),
    name: 'the test',
    opening: 'anything',
    endedCode,
    ended: (error) => deaths.push(error),
  });
  onTestFinished(() => worker.close());
  return { worker, deaths };
}

const COUNTING = `
  open: () => undefined,
  count: () => ({ value: (calls += 1), transfer: [] }),
  die: () => { throw setImmediate(() => { throw new Error('died of the test'); }) && process.exit(3); },
  close: () => undefined`;

it('a worker answers calls in order; when it dies its callers are told, and the next call starts another', async () => {
  const { worker, deaths } = workerOf(COUNTING);
  expect(await Promise.all([worker.call('count'), worker.call('count')])).toEqual([1, 2]);
  const lost = await Promise.allSettled([worker.call('die'), worker.call('count')]);
  expect(lost.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected']);
  expect(lost[1]).toMatchObject({ reason: { code: 'internal' } });
  expect(deaths).toHaveLength(1);
  expect(await worker.call('count')).toBe(1);
});

it('a worker passes on the Problem of its program, and what keeps it from opening', async () => {
  const problem = `Object.assign(new (class extends Error {})('no'), {})`;
  const { worker } = workerOf(`open: () => undefined, fail: () => { throw ${problem}; }, close: () => undefined`);
  await expect(worker.call('fail')).rejects.toMatchObject({ code: 'internal', reason: 'no' });
  await expect(worker.call('nothing')).rejects.toMatchObject({ reason: expect.stringContaining('nothing') });
  const broken = workerOf(`open: () => { throw new Error('shut'); }`);
  await expect(broken.worker.call('count')).rejects.toMatchObject({ reason: 'shut' });
  await expect(broken.worker.call('count')).rejects.toMatchObject({ reason: 'shut' });
  expect(broken.deaths).toEqual([]);
});

it('a worker takes no call once it is closed', async () => {
  const { worker, deaths } = workerOf(COUNTING);
  await worker.call('count');
  await worker.close();
  await expect(worker.call('count')).rejects.toMatchObject({ code: 'unavailable' });
  expect(deaths).toEqual([]);
});

it('a worker whose calls may be repeated says that it is unavailable when it dies', async () => {
  const { worker } = workerOf(COUNTING, 'unavailable');
  await expect(worker.call('die')).rejects.toMatchObject({
    code: 'unavailable',
    reason: expect.stringContaining('the worker of the test ended'),
  });
});
