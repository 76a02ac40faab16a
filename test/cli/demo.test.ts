/** The first thing a newcomer types. */

import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { rollcall } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

describe('rollcall demo', () => {
  it('enrolls a fleet, connects it, loses a device, tells how fast it was cut off, and cleans up', async () => {
    const TMPDIR = temporaryDirectory();
    const { code, stdout, stderr } = await rollcall(['demo', '--seconds', '12'], { environment: { TMPDIR } });
    expect(stdout).toMatch(/^25 of 25 devices enrolled with one bootstrap token and connected over mutual TLS$/m);
    expect(stdout).toMatch(/^[1-9]\d* messages published, stored and acknowledged$/m);
    expect(stdout).toMatch(
      /^demo-0001 was revoked: the command returned after \d+ ms, the device was cut off after \d+ ms, its next connection refused after \d+ ms$/m,
    );
    expect(stderr).toMatch(/^rollcall: 1 s: \d+ of 25 connected/m);
    expect(readdirSync(TMPDIR)).toEqual([]);
    expect(code).toBe(0);
  });

  it('ends with exit code 1 when it was too short for the whole story', async () => {
    const { code, stdout } = await rollcall(['demo', '--seconds', '1']);
    expect(stdout).toContain('no device was revoked: the demo ended too early');
    expect(code).toBe(1);
  });
});
