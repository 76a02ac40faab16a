/** The drill as operators start it: the real program, which starts another of itself on a copy. */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { DrillReport } from '../../simulator/drill/doors.ts';
import type { Projection } from '../../simulator/drill/projection.ts';
import { startFleet } from '../testkit/fleet.ts';
import { temporaryDirectory } from '../testkit/temporary.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const TIMEOUT_MS = 110_000;

type Result = DrillReport & {
  readonly authority: { readonly are: string; readonly because?: string };
  readonly fleet?: Projection;
};

function drill(args: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env.PATH, HOME: process.env.HOME }, timeout: TIMEOUT_MS };
    execFile(process.execPath, [MAIN, 'drill', 'ca-compromise', ...args], options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), said: `${stdout}\n${stderr}` });
    });
  });
}

describe('rollcall drill ca-compromise', () => {
  it(
    'replaces the CA under a fleet of its own, loses nobody who came back in time, and says who would be lost',
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
    },
    TIMEOUT_MS,
  );

  it(
    'goes through it with the CAs of a fleet that runs, and leaves that fleet as it was',
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
    'makes CAs of its own where the key of the root is elsewhere, and says so',
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

  it('refuses a report that has no place, before it begins', async () => {
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

/** Names and contents of what must not change. */
function authorityOf(data: string): Readonly<Record<string, string>> {
  const hash = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');
  const files = readdirSync(join(data, 'ca')).filter((name) => !name.endsWith('.crl'));
  return Object.fromEntries(files.map((name) => [name, hash(join(data, 'ca', name))]));
}
