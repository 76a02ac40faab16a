/** Runs the examples of docs/mqtt5.md and compares their output with the page. */

import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DOCUMENTED_SHELL_TIMEOUT_MS, runDocumentedShell } from '../fixtures/documented-shell.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const page = new URL('../../docs/mqtt5.md', import.meta.url);
const programs = fileURLToPath(new URL('../../bin', import.meta.url));

describeWithClients('docs/mqtt5.md', ['bash', 'mosquitto_pub', 'mosquitto_sub', 'mosquitto_rr'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  it(
    'prints what the page shows',
    async () => {
      const environment = {
        PORT: new URL(fleet.mqttUrl).port,
        ROLLCALL_DATA: fleet.data,
        PATH: `${programs}${delimiter}${process.env.PATH}`,
      };
      const run = await runDocumentedShell({ page, heading: 'Examples', directory: temporaryDirectory(), environment });
      expect(run).toBe(5);
    },
    DOCUMENTED_SHELL_TIMEOUT_MS,
  );
});
