import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../fixtures/temporary.ts';
import { ROWS } from './options.ts';
import { markdown, type Report } from './report.ts';

const BENCH = fileURLToPath(new URL('main.ts', import.meta.url));
const WITHIN_MS = 60_000;
/** Figures of loads as small as this mean nothing; the bench runs all the same. */
const TINY = ['--quick', '--only', 'connect', '--scale', '0.2'];

async function runBench(...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return promisify(execFile)(process.execPath, [BENCH, ...args], { timeout: WITHIN_MS });
}

/** Command lines of running programs that name a directory. */
function programsIn(directory: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return ''; // it ended while we looked
      }
    })
    .filter((commandLine) => commandLine.includes(directory));
}

describe.runIf(process.platform === 'linux')('the bench', () => {
  it(
    'measures Rollcall beside its peers and prints the goals',
    async () => {
      const { stdout } = await runBench(...TINY, '--json');
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

  it(
    'leaves neither processes nor files when it is interrupted',
    async () => {
      const directory = temporaryDirectory();
      const bench = spawn(process.execPath, [BENCH, ...TINY], {
        env: { ...process.env, TMPDIR: directory },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const ended = once(bench, 'exit');
      for await (const words of bench.stderr) if (String(words).includes('measuring')) break;
      await expect.poll(() => programsIn(directory), { timeout: 10_000 }).not.toEqual([]);

      bench.kill('SIGINT');

      expect(await ended).toEqual([130, null]);
      expect(readdirSync(directory)).toEqual([]);
      await expect.poll(() => programsIn(directory), { timeout: 10_000 }).toEqual([]);
    },
    WITHIN_MS,
  );

  it('refuses unknown rows, and lists the known ones', async () => {
    await expect(runBench('--only', 'conect')).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`expected rows of ${ROWS.join(', ')}, found "conect"`),
    });
  });
});
