/** Each built-in scenario in a small size, as a new user runs it: one command, a server of its own, and an exit code. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { builtInScenarios } from '../../cli/simulation-files.ts';
import { runProcess } from '../fixtures/started-processes.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'rollcall-scenarios-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Scale and speed of each scenario; incidents need some time between them. */
const SIZES: Readonly<Record<string, { readonly scale: number; readonly faster: number }>> = {
  attack: { scale: 0.4, faster: 1.5 },
  'bad-clocks': { scale: 0.4, faster: 2 },
  'broker-restart': { scale: 0.2, faster: 2 },
  'ca-rotation': { scale: 0.2, faster: 1 },
  clones: { scale: 0.5, faster: 2 },
  'disk-full': { scale: 0.4, faster: 2 },
  'enroll-burst': { scale: 0.06, faster: 3 },
  expired: { scale: 0.4, faster: 1 },
  'flaky-network': { scale: 0.3, faster: 2 },
  'lost-pallet': { scale: 0.1, faster: 2 },
  'mqtt-versions': { scale: 1, faster: 1 },
  'reconnect-storm': { scale: 0.006, faster: 15 },
  'renewal-wave': { scale: 0.08, faster: 2 },
  'room-recording': { scale: 0.5, faster: 2 },
  'slow-consumers': { scale: 0.3, faster: 1.5 },
  smoke: { scale: 0.5, faster: 1 },
  'steady-10k': { scale: 0.003, faster: 40 },
};

const NEEDS_ROOT = new Set(['disk-full']); // it mounts a small disk

async function simulate(args: readonly string[]): Promise<{ readonly code: number | null; readonly said: string }> {
  const { code, stdout, stderr } = await runProcess(process.execPath, [MAIN, 'simulate', ...args], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
    timeout: 240_000,
  });
  return { code, said: `${stdout}\n${stderr}` };
}

describe('the built-in scenarios', () => {
  it('all have a small size for this test', () => {
    expect(builtInScenarios().filter((name) => !Object.hasOwn(SIZES, name))).toEqual([]);
  });

  it.each(builtInScenarios())('%s is valid', (name) => {
    const text = readFileSync(new URL(`../../simulator/scenarios/${name}.yaml`, import.meta.url), 'utf8');
    expect(text).toMatch(new RegExp(`^name: ${name}$`, 'm'));
    expect(text).toMatch(/^expect:$/m);
  });
});

// Several at a time (`maxConcurrency`): a scenario mostly waits, with about 6 s of CPU in 14 to 46 s.
describe('a run of a built-in scenario in a small size', { concurrent: true }, () => {
  for (const name of builtInScenarios()) {
    const test = NEEDS_ROOT.has(name) && process.getuid?.() !== 0 ? it.skip : it;
    test(`${name} passes`, { timeout: 300_000 }, async () => {
      const { scale, faster } = SIZES[name] as { readonly scale: number; readonly faster: number };
      const size = ['--scale', `${scale}`, '--faster', `${faster}`, '--workers', '1'];
      const outcome = await simulate(['--scenario', name, ...size]);
      expect(outcome.said).toContain(`${name}: passed`);
      expect(outcome.code).toBe(0);
    });
  }
});
