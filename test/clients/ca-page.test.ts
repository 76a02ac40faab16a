/** Runs the shell of docs/ca.md, each section on a fleet of its own, and compares its output with the page. */

import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { DOCUMENTED_SHELL_TIMEOUT_MS, runDocumentedShell } from '../fixtures/documented-shell.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const page = new URL('../../docs/ca.md', import.meta.url);
const programs = fileURLToPath(new URL('../../bin', import.meta.url));

describeWithClients('docs/ca.md', ['bash', 'openssl'], () => {
  it.each([
    ['Replacing the issuing CA', 5],
    ['Taking the root key away', 2],
    ['A root of your own', 1],
  ])(
    'prints what the page shows, in the section: %s',
    async (heading, blocks) => {
      const fleet = await startFleet();
      onTestFinished(() => fleet.stop());
      await fleet.enroll('dev-1'); // it never renews, so its certificate is stranded when its CA is retired
      const environment = { ROLLCALL_DATA: fleet.data, PATH: `${programs}${delimiter}${process.env.PATH}` };
      const run = await runDocumentedShell({ page, heading, directory: temporaryDirectory(), environment });
      expect(run).toBe(blocks);
    },
    DOCUMENTED_SHELL_TIMEOUT_MS,
  );
});
