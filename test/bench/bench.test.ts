import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { markdown, type Report } from './report.ts';

const BENCH = fileURLToPath(new URL('main.ts', import.meta.url));
const WITHIN_MS = 60_000;

/** Runs it as `npm run bench` does; figures of loads as small as these mean nothing. */
async function runBench(...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return promisify(execFile)(process.execPath, [BENCH, ...args], { timeout: WITHIN_MS });
}

describe('the bench', () => {
  it(
    'measures Rollcall beside its peers and says what was to be reached',
    async () => {
      const { stdout } = await runBench('--quick', '--only', 'connect', '--scale', '0.05', '--rounds', '2', '--json');
      const report = JSON.parse(stdout) as Report;

      const [connect, ...others] = report.results;
      expect(others).toEqual([]);
      expect(connect?.row).toMatch(/^mTLS connect/);
      const servers = existsSync('/usr/sbin/mosquitto') ? ['rollcall', 'aedes', 'mosquitto'] : ['rollcall', 'aedes'];
      expect(Object.keys(connect?.figures ?? {})).toEqual(servers);
      expect(Object.values(connect?.figures ?? {}).every(({ median }) => median > 0)).toBe(true);
      expect(Object.keys(connect?.ratios ?? {})).toEqual(servers.slice(1));
      expect(Object.keys(report.missing)).toEqual(servers.includes('mosquitto') ? [] : ['mosquitto']);
      expect(connect?.goals.map(({ text }) => text)).toContain('at most 1.1 × aedes');

      const table = markdown(report).split('\n');
      const head = table.findIndex((line) => line.includes('| Rollcall | aedes | Mosquitto |'));
      expect(table[head + 2]).toMatch(/^\| mTLS connect.* \| µs CPU \| \d/);
    },
    WITHIN_MS,
  );

  it('refuses rows that it does not have, and says which it has', async () => {
    const refused = runBench('--only', 'conect');
    await expect(refused).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected rows of enroll, connect, publish, memory, revoke, found "conect"'),
    });
  });
});
