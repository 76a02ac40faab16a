/** `rollcall demo` prints the transcript of README.md. */

import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { collect, ended } from '../fixtures/child-process.ts';
import { rollcall, start } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** The lines of README.md; their numbers differ in every run. */
const documented = /^```\n(25 of 25 devices.*?)^```$/ms.exec(readme)?.[1] ?? '';
const withoutNumbers = (text: string): string => text.replace(/(?<!-)\b\d+/g, 'N').trim();

describe('rollcall demo', () => {
  it('enrolls a fleet, connects it, revokes a device, reports how fast its session ended, and removes its files', async () => {
    const TMPDIR = temporaryDirectory();
    const demo = start(['demo'], { environment: { TMPDIR } });
    const [output, notes] = [collect(demo.stdout), collect(demo.stderr)];
    while (!/its next connection was refused after \d+ ms/.test(notes()) && demo.exitCode === null) {
      await once(demo.stderr as NodeJS.ReadableStream, 'data');
    }
    demo.kill('SIGINT');
    const { code, stdout, stderr } = await ended(demo, output, notes);
    expect(stdout).toMatch(/^25 of 25 devices enrolled/m);
    expect(stdout).toMatch(/^[1-9]\d* messages published, stored and acknowledged$/m);
    expect(withoutNumbers(stdout)).toBe(withoutNumbers(documented));
    expect(stderr).toMatch(/^rollcall: \d+ s: \d+ of 25 connected/m);
    expect(readdirSync(TMPDIR)).toEqual([]);
    expect(code).toBe(0);
  });

  it('ends with exit code 1 when its duration is too short for all steps', async () => {
    const { code, stdout } = await rollcall(['demo', '--seconds', '1']);
    expect(stdout).toContain('no device was revoked: the demo ended too early');
    expect(code).toBe(1);
  });
});
