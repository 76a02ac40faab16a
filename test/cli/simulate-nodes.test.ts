/** A scenario over several nodes, as a user runs it: one command, nodes and a quorum of its own, and an exit code. */

import { chmodSync, readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { collect, ended } from '../fixtures/child-process.ts';
import { rollcall, start } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const PATIENCE_MS = 180_000;

describeWithClients('rollcall simulate --nodes', ['postgres'], () => {
  it(
    'plays a scenario against nodes that share a store, and removes them',
    async () => {
      const TMPDIR = temporaryDirectory();
      chmodSync(TMPDIR, 0o711); // the user of PostgreSQL enters it
      const size = ['--scale', '0.08', '--faster', '3'];
      const run = start(
        ['simulate', '--scenario', 'lost-pallet', '--nodes', '2', ...size],
        { environment: { TMPDIR } },
        PATIENCE_MS,
      );
      const { code, stdout, stderr } = await ended(run, collect(run.stdout), collect(run.stderr));
      expect(stdout, stderr).toMatch(/^lost-pallet: passed;/m);
      expect(code).toBe(0);
      expect(readdirSync(TMPDIR)).toEqual([]);
    },
    PATIENCE_MS,
  );

  it.each([
    [['--scenario', 'smoke', '--data', 'data'], 'expected --nodes without a server'],
    [['--scenario', 'disk-full'], 'expected a scenario without a full disk for --nodes'],
    [['--devices', '1'], 'expected --nodes with --scenario, found it with --devices'],
  ])('refuses %j beside it', async (args, reason) => {
    const { code, stderr } = await rollcall(['simulate', ...args, '--nodes', '2']);
    expect(stderr).toContain(reason);
    expect(code).toBe(2);
  });
});
