/** A back-end application of a test fleet, issued through the operator API with a key of its own. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareCredentials } from '../../cli/credential-files.ts';
import type { TestFleet } from './fleet.ts';
import type { Credentials } from './mqtt.ts';

/** `deviceId` is the client id it uses by default: its name. */
export async function issueService(
  fleet: Pick<TestFleet, 'operator' | 'mqttUrl'>,
  name: string,
): Promise<Credentials & { readonly deviceId: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-test-'));
  try {
    const prepared = prepareCredentials(directory, name);
    const { certificatePem, caPem } = await fleet.operator.issueService({ name, csrPem: prepared.csrPem });
    const keyPem = readFileSync(join(directory, 'key.pem'), 'utf8');
    return { deviceId: name, mqttUrl: fleet.mqttUrl, keyPem, certificatePem, rootPem: caPem };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
