import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { findBun } from '../../cli/bun.ts';
import type { Ended } from '../fixtures/child-process.ts';
import { runProcess, startProcess } from '../fixtures/started-processes.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';
import { ROWS } from './options.ts';
import { markdown, type Report } from './report.ts';
import { SERVER_NAMES } from './servers.ts';

const BENCH = fileURLToPath(new URL('main.ts', import.meta.url));
const WITHIN_MS = 180_000;
/** Figures of loads as small as this mean nothing; the bench runs all the same. */
const TINY = ['--quick', '--only', 'connect', '--scale', '0.2'];

function runBench(...args: readonly string[]): Promise<Ended> {
  return runProcess(process.execPath, [BENCH, ...args], { timeout: WITHIN_MS });
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
      const { code, stdout, stderr } = await runBench(...TINY, '--json');
      expect(code, stderr).toBe(0);
      const report = JSON.parse(stdout) as Report;

      const [connect, ...others] = report.results;
      expect(others).toEqual([]);
      expect(connect?.row).toMatch(/^mTLS connect/);
      const own = findBun() === undefined ? ['rollcall'] : ['rollcall', 'rollcallOnBun'];
      const peers = existsSync('/usr/sbin/mosquitto') ? ['aedes', 'mosquitto'] : ['aedes'];
      expect(Object.keys(connect?.figures ?? {})).toEqual([...own, ...peers]);
      expect(Object.values(connect?.figures ?? {}).every(({ median }) => median > 0)).toBe(true);
      expect(Object.keys(connect?.ratios ?? {})).toEqual(own);
      for (const ratios of Object.values(connect?.ratios ?? {})) expect(Object.keys(ratios)).toEqual(peers);
      expect(Object.keys(report.missing).sort()).toEqual(
        SERVER_NAMES.filter((name) => ![...own, ...peers].includes(name)).sort(),
      );
      const goal = 'at most 1.1 × mosquitto';
      expect(connect?.goals.map(({ text }) => text).includes(goal)).toBe(peers.includes('mosquitto'));

      const table = markdown(report).split('\n');
      const head = table.findIndex((line) => line.startsWith('|  | unit | Rollcall |'));
      expect(table[head + 2]).toMatch(/^\| mTLS connect.* \| µs CPU \| \d/);
    },
    WITHIN_MS,
  );

  it(
    'leaves neither processes nor files when it is interrupted',
    async () => {
      const directory = temporaryDirectory();
      const bench = startProcess(process.execPath, [BENCH, ...TINY], {
        env: { ...process.env, TMPDIR: directory },
        stdio: ['ignore', 'ignore', 'pipe'],
        endsBy: 'SIGTERM',
      });
      const ended = once(bench, 'exit');
      for await (const words of bench.stderr) if (String(words).includes('measuring')) break;
      await expect.poll(() => programsIn(directory)).not.toEqual([]);

      bench.kill('SIGINT');

      expect(await ended).toEqual([130, null]);
      expect(readdirSync(directory)).toEqual([]);
      await expect.poll(() => programsIn(directory)).toEqual([]);
    },
    WITHIN_MS,
  );

  it('refuses unknown rows, and lists the known ones', async () => {
    expect(await runBench('--only', 'conect')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`expected rows of ${ROWS.join(', ')}, found "conect"`),
    });
  });
});
