/** Runs the shell of docs/est.md and compares its output with the page. */

import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DOCUMENTED_SHELL_TIMEOUT_MS, runDocumentedShell } from '../fixtures/documented-shell.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const page = new URL('../../docs/est.md', import.meta.url);
const programs = fileURLToPath(new URL('../../bin', import.meta.url));

describeWithClients('docs/est.md', ['bash', 'curl', 'mosquitto_pub', 'openssl', 'pki'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  it.each([
    ['With curl and openssl', 7],
    ['With strongSwan', 3],
  ])(
    'prints what the page shows, in the section: %s',
    async (heading, blocks) => {
      const environment = {
        ENROLL: fleet.enrollUrl,
        ROLLCALL_DATA: fleet.data,
        PATH: `${programs}${delimiter}${process.env.PATH}`,
      };
      const run = await runDocumentedShell({ page, heading, directory: temporaryDirectory(), environment });
      expect(run).toBe(blocks);
    },
    DOCUMENTED_SHELL_TIMEOUT_MS,
  );
});
