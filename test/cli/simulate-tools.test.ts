import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadIdentities } from '../../cli/simulation-files.ts';
import type { RunResult } from '../../simulator/index.ts';
import { RESULT_FORMAT } from '../../simulator/run/result.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { rollcall } from '../fixtures/program.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'rollcall-simulate-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

describe('a scenario file', () => {
  const GOOD = 'name: a\nduration: 5s\ndevices:\n  sensors:\n    count: 3\n    publish: [{ stream: t, every: 1s }]\n';

  it('that is valid is summarized', async () => {
    const ended = await rollcall(['simulate', 'check', file('good.yaml', GOOD)]);
    expect(ended).toMatchObject({ code: 0 });
    expect(ended.stdout).toContain('3 devices in 1 groups, 5 s');
  });

  it.each([
    ['an unknown key', GOOD.replace('count: 3', 'counts: 3'), ':5:5: devices.sensors.counts: expected a known key'],
    [
      'a negative rate',
      GOOD.replace('every: 1s', 'every: -1s'),
      ':6:28: devices.sensors.publish[0].every: expected a duration',
    ],
    [
      'an impossible time',
      `${GOOD}timeline: [{ at: 1h, revoke: 1 }]\n`,
      ':7:14: timeline[0].at: expected a time within',
    ],
    [
      'a missing recording',
      GOOD.replace('every: 1s', 'model: { kind: replay, file: no.csv, time: t, columns: { v: v } }'),
      'publish[0].model.file: expected a recording that exists, found "no.csv"',
    ],
  ])('with %s is refused with its line before anything starts', async (_, text, said) => {
    const ended = await rollcall(['simulate', '--scenario', file('bad.yaml', text)]);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain(`bad.yaml${said.startsWith(':') ? said : ''}`);
    expect(ended.stderr).toContain(said);
  });

  it.each(['4', '5=70%', '5=70%,3.1.1=20%', '5,3.1.1'])(
    'with --mqtt %s is refused before anything starts',
    async (versions) => {
      const ended = await rollcall(['simulate', '--scenario', file('good.yaml', GOOD), '--mqtt', versions]);
      expect(ended.code).toBe(2);
      expect(ended.stderr).toContain('expected 5, 3.1.1, or the shares of both, such as 5=70%,3.1.1=30%');
    },
  );

  it('that does not exist is refused with the names of the built-in scenarios', async () => {
    const ended = await rollcall(['simulate', '--scenario', 'smokey']);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toMatch(/expected a scenario file.*smokey[\s\S]*steady-10k/);
  });
});

describe('two results', () => {
  const result = (p99: number): RunResult => ({
    format: RESULT_FORMAT,
    scenario: { name: 'a', about: '', seed: 1, durationSeconds: 5 },
    target: 'mqtts://localhost:8883',
    startedAt: '2026-11-22T12:00:00.000Z',
    tookSeconds: 6,
    machine: { cores: 2, cpu: 'test', memoryGiB: 4, system: 'Linux' },
    versions: {},
    workers: 1,
    values: { 'puback.p99': p99, 'lost.journal': 0 },
    latencies: {},
    errors: {},
    reasons: {},
    timeline: [],
    marks: [],
    assertions: [],
    problems: [],
    verdict: 'passed',
  });

  it.each([
    ['puback.p99 <= 200%', 0, 'ok    puback.p99 <= 200%: found 10 and 15'],
    ['puback.p99 <= 120%', 1, 'FAIL  puback.p99 <= 120%: found 10 and 15'],
    ['revocation.max <= 120%', 1, 'was not measured in both runs'],
    ['mail <= 120%', 2, ''],
  ])('are compared, and %s ends with %i', async (gate, code, said) => {
    const [a, b] = [10, 15].map((p99) => file(`${p99}.json`, JSON.stringify(result(p99))));
    const ended = await rollcall(['simulate', 'compare', a as string, b as string, '--gate', gate]);
    expect(ended.code).toBe(code);
    expect(ended.stdout).toContain(said);
  });

  it('must be result files', async () => {
    const other = file('other.json', '{"format":"something/1"}');
    expect((await rollcall(['simulate', 'compare', other, other])).code).toBe(2);
  });
});

describe('a fleet that is enrolled once', () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  it('is listed by its run, and cleaned up with proof after a confirmation', async () => {
    const own = ['--socket', fleet.socket];
    const cleanup = (...args: readonly string[]) => rollcall(['simulate', 'cleanup', ...own, ...args]);
    await fleet.enroll('real-1');
    await rollcall(['simulate', 'devices', '--keep', join(directory, 'cleaned'), '--count', '3', ...own]);
    const runs = JSON.parse((await cleanup('--json')).stdout) as readonly { run: string; devices: number }[];
    // The first device of a run asks for the address of the broker.
    expect(runs).toEqual([{ run: expect.stringMatching(/^sim/), devices: 4 }]);
    const [{ run } = { run: '' }] = runs;
    const listed = await cleanup('--run', run, '--dry-run');
    expect(listed.stdout.trim().split('\n')).toHaveLength(4);
    const unconfirmed = await cleanup('--run', run);
    expect(unconfirmed.code).not.toBe(0);
    const [, confirmation] = /--confirm (\S+)/.exec(listed.stderr) as RegExpExecArray;
    const cleaned = await cleanup('--run', run, '--confirm', confirmation as string);
    expect(cleaned.stdout).toContain('4 deleted');
    expect(cleaned.code).toBe(0);
    const again = await cleanup('--yes');
    expect(again.stderr).toContain('there is no simulated device');
    expect(await fleet.operator.listDevices({})).toMatchObject([{ id: 'real-1' }]);
  });

  it('is stored in files that only their owner can read, and used again without a token', async () => {
    const keep = join(directory, 'fleet');
    const kept = await rollcall(['simulate', 'devices', '--keep', keep, '--count', '5', '--socket', fleet.socket]);
    expect(kept.code).toBe(0);
    expect(kept.stdout).toContain('5 of 5 devices enrolled');
    const { identities, rootPem } = loadIdentities(keep);
    expect(identities.size).toBe(5);
    expect(rootPem).toBe(readFileSync(fleet.trustBundle, 'utf8'));
    const [id] = identities.keys();
    expect(statSync(join(keep, id as string, 'key.pem')).mode & 0o777).toBe(0o600);

    const report = join(directory, 'again.html');
    const scenario = file(
      'again.yaml',
      'name: again\nduration: 3s\ndevices: { kept: { count: 5, arrive: { curve: constant, over: 1s }, publish: [{ stream: t, every: 500ms }] } }\nexpect: [devices.connected == 100%, devices.enrolled == 0, lost.journal == 0, messages.acknowledged > 10]\n',
    );
    const again = await rollcall([
      ...['simulate', '--scenario', scenario, '--socket', fleet.socket, '--identities', keep],
      ...['--target', fleet.mqttUrl, '--workers', '1', '--report', report],
    ]);
    expect(again.stdout).toContain('again: passed');
    expect(again.code).toBe(0);
    expect(existsSync(report)).toBe(true);
  });
});
