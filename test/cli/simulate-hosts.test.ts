/** A run on several hosts as an operator starts it: a coordinator and two hosts that join, each a program of its own. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { joinRun, type RunResult, resultSchema } from '../../simulator/index.ts';
import { startProcess } from '../fixtures/started-processes.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'rollcall-hosts-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Program {
  readonly child: ChildProcess;
  readonly code: Promise<number | null>;
  /** Resolves with the first line of either output that matches. */
  line(pattern: RegExp): Promise<string>;
  said(): string;
}

function simulate(args: readonly string[]): Program {
  const child = startProcess(process.execPath, [MAIN, 'simulate', ...args], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
  });
  child.stdin.end();
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      for (const look of waiting) look();
    });
  }
  const code = once(child, 'close').then(([status]) => status as number | null);
  return {
    child,
    code,
    said: () => lines.join('\n'),
    line: (pattern) =>
      Promise.race([
        new Promise<string>((resolve) => {
          const look = () => {
            const found = lines.find((line) => pattern.test(line));
            if (found === undefined) return;
            waiting.delete(look);
            resolve(found);
          };
          waiting.add(look);
          look();
        }),
        code.then((status) => {
          throw new Error(`ended with ${status} before it said ${pattern}:\n${lines.join('\n')}`);
        }),
      ]),
  };
}

interface Coordinating {
  readonly program: Program;
  readonly place: string;
  readonly fingerprint: string;
  /** File with the secret. */
  readonly secret: string;
  join(name: string, over?: { readonly secret?: string }): Program;
}

async function coordinate(hosts: number, ...args: readonly string[]): Promise<Coordinating> {
  const program = simulate(['--scenario', 'smoke', '--coordinate', '0', '--hosts', `${hosts}`, ...args]);
  const where = await program.line(/the secret of this run is in/);
  const how = await program.line(/--join /);
  const secret = / is in (\S+);/.exec(where)?.[1] as string;
  const [, place, fingerprint] = /--join (\S+) --fingerprint ([0-9a-f]{64}) --secret @join.secret$/.exec(
    how,
  ) as string[];
  const joining = (name: string, over: { readonly secret?: string } = {}) => {
    const source = `@${over.secret ?? secret}`;
    return simulate([
      '--join',
      place as string,
      '--fingerprint',
      fingerprint as string,
      '--secret',
      source,
      '--name',
      name,
    ]);
  };
  return { program, place: place as string, fingerprint: fingerprint as string, secret, join: joining };
}

function resultIn(file: string): RunResult {
  return resultSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
}

describe('two hosts that join a coordinator', { timeout: 180_000 }, () => {
  it('run the devices of one scenario, and all three programs report the same verdict', async () => {
    const file = join(directory, 'smoke.json');
    const mix = ['--mqtt', '5=50%,3.1.1=50%'];
    const { program, secret, join: joining } = await coordinate(2, '--result', file, ...mix);
    expect(statSync(secret).mode & 0o777).toBe(0o600);
    const hosts = [joining('hall-1'), joining('hall-2')];
    expect(await program.code, program.said()).toBe(0);
    expect(program.said()).toContain('smoke: passed');
    for (const host of hosts) {
      expect(await host.code, host.said()).toBe(0);
      expect(host.said()).toContain('the run is over: passed');
    }
    const { hosts: reported = [], values, problems } = resultIn(file);
    expect(problems).toEqual([]);
    expect(reported.map(({ name, devices }) => ({ name, devices }))).toEqual([
      { name: 'hall-1', devices: 11 },
      { name: 'hall-2', devices: 11 },
    ]);
    // All run on one machine with one clock, so the difference is the error of its measurement.
    for (const { clockOffsetMs, clockErrorMs } of reported) {
      expect(Math.abs(clockOffsetMs)).toBeLessThanOrEqual(clockErrorMs + 1);
    }
    expect(values['simulator.clockError']).toBe(Math.max(...reported.map(({ clockErrorMs }) => clockErrorMs)));
    expect(values['devices.enrolled']).toBe(22);
    // Half of the 20 light devices, and of the 2 of the SDK.
    expect(values['connects.mqtt5']).toBeGreaterThanOrEqual(11);
    expect(values['connects.mqtt311']).toBeGreaterThanOrEqual(11);
    expect(() => statSync(secret)).toThrow('ENOENT');
  });

  it('fail with the coordinator when one of them is killed, and the report names that host', async () => {
    const [file, junit] = [join(directory, 'killed.json'), join(directory, 'killed.xml')];
    const { program, join: joining } = await coordinate(2, '--result', file, '--junit', junit, '--duration', '60s');
    const [lost, left] = [joining('hall-1'), joining('hall-2')];
    await program.line(/ 22 of 22 connected/);
    lost.child.kill('SIGKILL');
    expect(await program.code, program.said()).toBe(1);
    const sentence = /a host of the run was lost: "hall-1" \(127\.0\.0\.1\), with its 11 devices: its? c/;
    expect(program.said()).toMatch(sentence);
    expect(program.said()).toContain('smoke: failed');
    expect(resultIn(file).problems).toEqual([expect.stringMatching(sentence)]);
    expect(readFileSync(junit, 'utf8')).toContain('name="the run itself"><failure message="a host of the run was lost');
    expect(await left.code, left.said()).toBe(1);
    expect(left.said()).toContain('the run is over: failed');
  });

  it('report that the coordinator was killed', async () => {
    const { program, join: joining } = await coordinate(2);
    const host = joining('hall-1');
    await host.line(/joined 127/);
    program.child.kill('SIGKILL');
    expect(await host.code).toBe(1);
    expect(host.said()).toContain('the coordinator of the run was lost: it');
  });
});

describe('a host that may not join', { timeout: 180_000 }, () => {
  it('gets the cause, with an error code for each', async () => {
    const { program, place, fingerprint, secret, join: joining } = await coordinate(1);
    const wrong = join(directory, 'wrong.secret');
    writeFileSync(wrong, 'this-was-the-secret-of-another-run\n');
    const stranger = joining('hall-1', { secret: wrong });
    expect(await stranger.code).toBe(3);
    expect(stranger.said()).toBe('rollcall: error: the secret is not that of the run');

    const other = simulate([
      '--join',
      place,
      '--fingerprint',
      'f'.repeat(64),
      '--secret',
      `@${secret}`,
      '--name',
      'hall-1',
      '--json',
    ]);
    expect(await other.code).toBe(3);
    expect(JSON.parse(other.said())).toMatchObject({ code: 'coordinator_unproven' });

    const [host, port] = place.split(':') as [string, string];
    const older = joinRun({
      ...{ host, port: Number(port), fingerprint, name: 'hall-1', version: '0.0.0-older' },
      secret: readFileSync(secret, 'utf8').trim(),
    });
    await expect(older).rejects.toMatchObject({ code: 'join_version_mismatch' });
    program.child.kill('SIGTERM');
    expect(await program.code).toBe(1);
    expect(program.said()).toContain('not all hosts of the run came in time: expected 1, found 0 (none)');
  });

  it('is refused a secret as an argument, which other users could read', async () => {
    const spoken = 'a-secret-that-is-spoken-aloud';
    const program = simulate(['--join', '127.0.0.1:1', '--fingerprint', 'f'.repeat(64), '--secret', spoken]);
    expect(await program.code).toBe(2);
    expect(program.said()).toContain('expected --secret @FILE or --secret -');
    expect(program.said()).not.toContain(spoken);
  });
});
