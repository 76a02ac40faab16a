import { enrollOnce, fileIdentityStore } from '@rollcall/device-sdk';
import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import { type ConsoleAddress, openConsoleClient } from '../../console/client.ts';
import { deviceId, groupName, label, run, runWithServer, withServerOptions } from '../command-line.ts';
import { consoleAddressOf, type FleetOptions } from '../console-address.ts';
import { withProblems } from '../sdk-errors.ts';
import { readSecretArgument } from '../secret-argument.ts';
import { printJson, printResult } from '../terminal.ts';
import { addDeviceList } from './device-list.ts';
import { addDeviceMessages } from './device-messages.ts';
import { addDeviceOperations } from './device-operations.ts';
import { addDeviceShow } from './device-show.ts';

interface SetOptions {
  readonly group?: GroupName;
  readonly label?: Readonly<Record<string, string>>;
}

/** `--label k=` removes a label. */
const set = runWithServer<SetOptions>(async (server, { args, options, form }) => {
  const { group, label: changes } = options;
  if (group === undefined && changes === undefined)
    throw new Problem('usage', { reason: 'expected --group or --label' });
  const labels = Object.fromEntries(Object.entries(changes ?? {}).map(([name, value]) => [name, value || null]));
  const device = await server.setDevice({ id: args[0] as string, labels, ...(group !== undefined && { group }) });
  if (form === 'json') return printJson(device);
  const text = Object.entries(device.labels).map(([name, value]) => `${name}=${value}`);
  printResult(`device ${device.id}: group ${device.group}, labels ${text.join(' ') || 'none'}`);
});

interface EnrollOptions extends FleetOptions {
  readonly token?: string;
  readonly id?: DeviceId;
  readonly out: string;
}

const enroll = run<EnrollOptions>(async ({ options, form }) => {
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

export function deviceCommand(): Command {
  const device = new Command('device').description(
    'devices: list, show, enroll, revoke, suspend, resume, quarantine, disconnect, delete, command, twin',
  );
  addDeviceList(withServerOptions(device.command('list')));
  addDeviceShow(withServerOptions(device.command('show')));
  withServerOptions(
    device
      .command('set')
      .argument('<id>')
      .description('change the group or labels of a device; applies to its live session at once'),
  )
    .option('--group <group>', 'its new group', groupName)
    .option('--label <k=v>', 'label to set, or "k=" to remove it; may be repeated', label)
    .action(set);
  addDeviceOperations(device);
  addDeviceMessages(device);
  withServerOptions(
    device.command('enroll').description('enroll this machine as a device, and write its credentials into a directory'),
  )
    .option(
      '--token <token>',
      'bootstrap token: its text, @FILE, or - for standard input; without it the server on this machine creates one',
    )
    .option('--id <id>', 'requested device id; without it the server chooses one', deviceId)
    .requiredOption('--out <dir>', 'directory for key.pem, cert.pem and ca.pem')
    .action(enroll);
  return device;
}
