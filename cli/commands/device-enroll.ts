/** `rollcall device enroll`: enrolls this machine as a device. Loaded when it is called: no other command of devices needs the SDK. */

import { enrollOnce, fileIdentityStore } from '@rollcall/device-sdk';
import { type DeviceId, Problem } from '@rollcall/protocol';
import { type ConsoleAddress, openConsoleClient } from '../../console/client.ts';
import { run } from '../command-line.ts';
import { consoleAddressOf, type FleetOptions } from '../console-address.ts';
import { withProblems } from '../sdk-errors.ts';
import { readSecretArgument } from '../secret-argument.ts';
import { printJson, printResult } from '../terminal.ts';

interface EnrollOptions extends FleetOptions {
  readonly token?: string;
  readonly id?: DeviceId;
  readonly out: string;
}

export const enroll = run<EnrollOptions>(async ({ options, form }) => {
  const token =
    options.token === undefined ? await createOwnToken(options) : readSecretArgument(options.token, '--token');
  const identity = await withProblems(() =>
    enrollOnce(fileIdentityStore(options.out), { token, ...(options.id !== undefined && { deviceId: options.id }) }),
  );
  if (options.id !== undefined && options.id !== identity.deviceId) {
    throw new Problem('usage', {
      reason: `expected a directory for ${options.id}, found ${identity.deviceId} enrolled in it`,
    });
  }
  const { deviceId: id, enrollUrl, mqttUrl } = identity;
  if (form === 'json') printJson({ device: id, enrollUrl, mqttUrl, directory: options.out });
  else
    printResult(
      `device ${id} is enrolled; its key, certificate and root are in ${options.out}; its broker is ${mqttUrl}`,
    );
});

/** Time in which this command uses the token that it creates. */
const OWN_TOKEN_TTL_SECONDS = 600;

/** Of the running server on this machine, for one device. */
async function createOwnToken(options: EnrollOptions): Promise<string> {
  const server = openConsoleClient(ownServerAddress(options));
  try {
    // Not a token for the device, which would let a revoked one in again.
    return (await server.createToken({ ttlSeconds: OWN_TOKEN_TTL_SECONDS })).text;
  } finally {
    await server.close();
  }
}

function ownServerAddress(options: EnrollOptions): ConsoleAddress {
  try {
    return consoleAddressOf(options);
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'server_unreachable') throw error;
    throw new Problem('usage', {
      reason: 'expected --token, or a running server on this machine that creates one',
      hint: 'create a token where the server runs: rollcall token create --out FILE; then --token @FILE here',
    });
  }
}
