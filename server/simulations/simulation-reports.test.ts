import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { SimulationReports } from './simulation-reports.ts';

let directory: string;
let reports: SimulationReports;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rollcall-test-'));
  reports = new SimulationReports(join(directory, 'simulations'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const idOf = (n: number) => n.toString(16).padStart(16, '0');

function runOf(n: number) {
  const times = { startedAt: n, endedAt: n + 1, durationSeconds: 8 };
  return { id: idOf(n), scenario: 'smoke', startedBy: 'operator/ada', state: 'passed', ...times } as const;
}

it('the newest 20 results of simulations are stored, newest first', async () => {
  for (let n = 1; n <= 22; n += 1) await reports.add({ run: runOf(n), result: { n } });
  const stored = await reports.list();
  expect(stored.map(({ run }) => run.startedAt)).toEqual(Array.from({ length: 20 }, (_, index) => 22 - index));
  expect(readdirSync(join(directory, 'simulations'))).toHaveLength(20);
  expect(await reports.find(idOf(22))).toEqual({ run: runOf(22), result: { n: 22 } });
  expect(await reports.find(idOf(1))).toBeUndefined();
});

it.each([
  ['none', undefined],
  ['no JSON', '{"verdict":'],
  ['too large', `"${'x'.repeat(4_194_304)}"`],
])('a result of a simulation that is %s is not used, and no file stays', async (_, text) => {
  const file = await reports.resultFile(idOf(1));
  if (text !== undefined) writeFileSync(file, text);
  expect(await reports.takeResult(idOf(1))).toBeUndefined();
  expect(readdirSync(join(directory, 'simulations'))).toEqual([]);
});

it('files that are no result of a simulation are left out of the list', async () => {
  await reports.add({ run: runOf(1), result: undefined });
  writeFileSync(join(directory, 'simulations', `${idOf(2)}.json`), '{"run":{}}');
  writeFileSync(join(directory, 'simulations', 'notes.json'), '{}');
  expect((await reports.list()).map(({ run }) => run.id)).toEqual([idOf(1)]);
});
