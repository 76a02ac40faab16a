/** The drill as operators start it: the real program, which starts a second server on a copy of the data. */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { DrillReport, Projection } from '../../simulator/index.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { runProcess } from '../fixtures/started-processes.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const TIMEOUT_MS = 180_000;

type Result = DrillReport & {
  readonly authority: { readonly are: string; readonly because?: string };
  readonly fleet?: Projection;
};

async function drill(args: readonly string[]): Promise<{ readonly code: number | null; readonly said: string }> {
  const { code, stdout, stderr } = await runProcess(process.execPath, [MAIN, 'drill', 'ca-compromise', ...args], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
    timeout: TIMEOUT_MS,
  });
  return { code, said: `${stdout}\n${stderr}` };
}

describe('rollcall drill ca-compromise', () => {
  it(
    'replaces the CA of a fleet of its own, loses no device that reconnects in time, and reports which devices would be lost',
    async () => {
      const file = join(temporaryDirectory(), 'drill.json');
      const { code, said } = await drill(['--devices', '12', '--haste', '0.05', '--report', file]);
      expect(code, said).toBe(0);
      const result = JSON.parse(readFileSync(file, 'utf8')) as Result;
      expect(result).toMatchObject({
        verdict: 'passed',
        failures: [],
        renewed: 15,
        sessionsDropped: 0,
        messages: { lost: 0 },
        // Aware: the fleet, and devices that were offline or have a wrong clock. Unaware: the one that left trusts the server but adopts no root.
        theft: { aware: { tempted: 15, captured: 0 }, unaware: { tempted: 1, believed: 1, captured: 0 } },
      });
      expect(result.messages.acknowledged).toBeGreaterThanOrEqual(24);
      expect(result.stages.map(({ name }) => name)).toEqual([
        'enroll',
        'speak',
        'prepare',
        'deliver the trust bundle',
        'activate',
        'taint',
        'renew',
        'retire',
        'steal the old key',
        'verify',
      ]);
      expect(Object.fromEntries(result.mishaps.map(({ name, found }) => [name, found]))).toEqual({
        away: 'kept',
        left: 'lost',
        unrenewed: 'lost',
        'clock slow': 'kept',
        'clock fast': 'kept',
      });
      expect(said).toMatch(/^passed$/m);
      expect(said).toContain('captured 0 of 15 devices that saw the rotation; of 1 that did not see it, 1 spoke');
    },
    TIMEOUT_MS,
  );

  it(
    'runs on a copy of a running fleet, and leaves that fleet unchanged',
    async () => {
      const fleet = await startFleet();
      onTestFinished(() => fleet.stop());
      await fleet.enroll('press-1');
      await fleet.enroll('press-2');
      const before = authorityOf(fleet.data);
      const file = join(temporaryDirectory(), 'drill.json');
      const { code, said } = await drill(['--devices', '3', '--haste', '0.05', '--data', fleet.data, '--report', file]);
      expect(code, said).toBe(0);
      const result = JSON.parse(readFileSync(file, 'utf8')) as Result;
      expect(result).toMatchObject({ verdict: 'passed', authority: { are: 'copied' } });
      expect(result.stages.find(({ name }) => name === 'retire')?.said).toContain('4 were given up');
      expect(result.fleet).toMatchObject({
        devices: 2,
        services: 0,
        connected: 0,
        lost: { offlineNow: 2, clockWrong: 'none' },
      });
      expect(authorityOf(fleet.data)).toEqual(before);
    },
    TIMEOUT_MS,
  );

  it(
    'replaces the root of a fleet in a copy, publishes it to devices before it signs, and reports which tokens still work',
    async () => {
      const fleet = await startFleet();
      onTestFinished(() => fleet.stop());
      await fleet.enroll('press-1');
      await fleet.operator.createToken({ uses: 3, ttlSeconds: 3_600 });
      const before = authorityOf(fleet.data);
      const file = join(temporaryDirectory(), 'drill.json');
      const args = ['--root', '--devices', '4', '--haste', '0.05', '--data', fleet.data, '--report', file];
      const { code, said } = await drill(args);
      expect(code, said).toBe(0);
      const result = JSON.parse(readFileSync(file, 'utf8')) as Result;
      expect(result).toMatchObject({
        replaced: 'root',
        verdict: 'passed',
        failures: [],
        authority: { are: 'copied' },
        // The offline device, those with wrong clocks and the pinned one, without the lost ones.
        renewed: 8,
        sessionsDropped: 0,
        messages: { lost: 0 },
        fleet: { devices: 1, lost: { offlineNow: 1, oldBundle: 0, tokens: 1, clockWrong: 'none' } },
      });
      expect(result.stages.map(({ name, said }) => [name, said])).toEqual([
        ['enroll', expect.anything()],
        ['speak', '4 devices are heard'],
        ['prepare the root', 'trusted, signs nothing'],
        ['deliver the trust bundle', 'to devices that are connected'],
        ['devices learn the root', '4 of 4'],
        ['prepare', 'trusted, signs nothing'],
        ['deliver the trust bundle', 'to devices that are connected'],
        ['activate', 'signs from now on'],
        ['taint', expect.anything()],
        ['renew', expect.anything()],
        // The fleet's own device, which is offline throughout and never renews.
        ['retire', 'refused at first; then 3 were given up'],
        ['retire the root', 'refused at first; then 3 were given up'],
        ['steal the old key', '0 of 7 devices captured'],
        ['verify', '3 lost of 8 mishaps'],
      ]);
      expect(Object.fromEntries(result.mishaps.map(({ name, found }) => [name, found]))).toEqual({
        'unpacked meanwhile': 'kept',
        unrenewed: 'lost',
        left: 'lost',
        away: 'kept',
        'clock slow': 'kept',
        'clock fast': 'kept',
        pinned: 'kept',
        'unpacked afterwards': 'lost',
      });
      for (const { found, remedy } of result.mishaps) if (found === 'lost') expect(remedy).toMatch(/./);
      expect(Date.parse(result.trust?.vouchedUntil ?? '')).toBeGreaterThan(Date.now());
      expect(said).toContain('to be created again: 1 bootstrap tokens, which name the old root');
      expect(said).toContain('rollcall token create --device ID');
      expect(authorityOf(fleet.data)).toEqual(before);
    },
    TIMEOUT_MS,
  );

  it(
    'creates CAs of its own when the key of the root is offline, and reports that',
    async () => {
      const fleet = await startFleet();
      onTestFinished(() => fleet.stop());
      await fleet.enroll('press-1');
      const ca = join(fleet.data, 'ca');
      for (const name of readdirSync(ca)) {
        if (/^root.*\.key$/.test(name)) renameSync(join(ca, name), join(temporaryDirectory(), name));
      }
      const { code, said } = await drill(['--devices', '1', '--haste', '0.05', '--data', fleet.data]);
      expect(code, said).toBe(0);
      expect(said).toContain('new CAs, because the key of its root is elsewhere');
      expect(said).toContain('the fleet: 1 devices renew in');
    },
    TIMEOUT_MS,
  );

  it('refuses a report path that cannot be written, before it begins', async () => {
    const { code, said } = await drill(['--report', join(temporaryDirectory(), 'missing', 'drill.json')]);
    expect(code).toBe(2);
    expect(said).toContain('drill.json: ENOENT');
    expect(said).not.toContain('enroll');
  });

  it('refuses a directory without a fleet', async () => {
    const { code, said } = await drill(['--data', temporaryDirectory()]);
    expect(code).not.toBe(0);
    expect(said).toContain('expected the registry of a fleet, found none');
  });
});

/** Names and contents of the files that must not change. */
function authorityOf(data: string): Readonly<Record<string, string>> {
  const hash = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');
  const files = readdirSync(join(data, 'ca')).filter((name) => !name.endsWith('.crl'));
  return Object.fromEntries(files.map((name) => [name, hash(join(data, 'ca', name))]));
}
