import { DeviceError, enrollOnce, fileIdentityStore } from '@rollcall/device-sdk';
import { type DeviceId, type GroupName, isProblemCode, Problem } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import { DEVICE_STATUSES, type DeviceStatus } from '../../registry/index.ts';
import {
  deviceId,
  findsServer,
  groupName,
  integerBetween,
  label,
  run,
  runWithServer,
  speaksJson,
} from '../command-line.ts';
import { readSecretArgument } from '../secret-argument.ts';
import { printJson, printResult, table } from '../terminal.ts';
import { addDeviceActs } from './device-operations.ts';

interface ListOptions {
  readonly group?: GroupName;
  readonly status?: DeviceStatus;
  readonly after?: DeviceId;
  readonly limit: number;
}

const list = runWithServer<ListOptions>(async (server, { options, form }) => {
  const devices = await server.listDevices({
    limit: options.limit,
    ...(options.group !== undefined && { group: options.group }),
    ...(options.status !== undefined && { status: options.status }),
    ...(options.after !== undefined && { after: options.after }),
  });
  if (form === 'json') printJson(devices);
  else {
    printResult(
      table(
        ['DEVICE', 'GROUP', 'STATUS', 'ENROLLED', 'REVOKED', 'REASON'],
        devices.map((d) => [d.id, d.group, d.status, d.enrolledAt, d.revokedAt ?? '', d.revocationReason ?? '']),
      ),
    );
  }
});

const show = runWithServer(async (server, { args, form }) => {
  const device = await server.showDevice({ id: args[0] as string });
  if (form === 'json') {
    printJson(device);
    return;
  }
  const labels = Object.entries(device.labels).map(([key, value]) => `${key}=${value}`);
  const session = device.session;
  printResult(
    [
      `device    ${device.id}`,
      `group     ${device.group}`,
      `labels    ${labels.join(' ') || 'none'}`,
      `status    ${device.status}${since(device)}`,
      `enrolled  ${device.enrolledAt} by ${device.enrolledBy}`,
      `session   ${session === undefined ? 'not connected' : `from ${session.address} since ${session.connectedAt}`}`,
      '',
      table(
        ['CERTIFICATE', 'STATUS', 'ISSUED', 'NOT AFTER', 'FROM', 'ADDRESS', 'OPERATOR'],
        device.certificates.map((c) => [
          c.serial,
          c.status,
          c.issuedAt,
          c.notAfter,
          c.parentSerial ?? (c.token === undefined ? '' : `token ${c.token}`),
          c.address ?? '',
          c.operator ?? '',
        ]),
      ),
    ].join('\n'),
  );
});

function since(device: {
  readonly revocationReason?: string | undefined;
  readonly revokedAt?: string | undefined;
  readonly restrictedAt?: string | undefined;
}): string {
  if (device.revokedAt !== undefined) return ` (${device.revocationReason}, ${device.revokedAt})`;
  return device.restrictedAt === undefined ? '' : ` (since ${device.restrictedAt})`;
}

interface SetOptions {
  readonly group?: GroupName;
  readonly label?: Readonly<Record<string, string>>;
}

/** `--label k=` takes a label away. */
const set = runWithServer<SetOptions>(async (server, { args, options, form }) => {
  const { group, label: given } = options;
  if (group === undefined && given === undefined) throw new Problem('usage', { reason: 'expected --group or --label' });
  const labels = Object.fromEntries(Object.entries(given ?? {}).map(([name, value]) => [name, value || null]));
  const device = await server.setDevice({ id: args[0] as string, labels, ...(group !== undefined && { group }) });
  if (form === 'json') return printJson(device);
  const text = Object.entries(device.labels).map(([name, value]) => `${name}=${value}`);
  printResult(`device ${device.id} is of group ${device.group}, with labels ${text.join(' ') || 'none'}`);
});

interface EnrollOptions {
  readonly token: string;
  readonly id?: DeviceId;
  readonly out: string;
}

const enroll = run<EnrollOptions>(async ({ options, form }) => {
  const token = readSecretArgument(options.token, '--token');
  const identity = await enrolling(() =>
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

/** What a device can find out by itself and only the caller can mend. */
const MISUSES: ReadonlySet<string> = new Set(['token_required', 'token_malformed', 'identity_unusable']);

/** The device's words for a refusal, in the program's. */
async function enrolling<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    const code = isProblemCode(error.code) ? error.code : MISUSES.has(error.code) ? 'usage' : 'unavailable';
    throw new Problem(code, { detail: error.message, cause: error });
  }
}

export function deviceCommand(): Command {
  const device = new Command('device').description('the fleet: who is in it, and who no longer');
  findsServer(device.command('list').description('list devices in the order of their ids'))
    .option('--group <group>', 'of this group only', groupName)
    .addOption(new Option('--status <status>', 'of this status only').choices(DEVICE_STATUSES))
    .option('--after <id>', 'ids greater than this one: the next page', deviceId)
    .option('--limit <n>', 'how many at most', integerBetween(1, 10_000), 100)
    .action(list);
  findsServer(
    device.command('show').argument('<id>').description('show a device, its certificates and its session'),
  ).action(show);
  findsServer(
    device
      .command('set')
      .argument('<id>')
      .description('change group or labels; its live session is held to it at once'),
  )
    .option('--group <group>', 'group that it belongs to from now on', groupName)
    .option('--label <k=v>', 'label that it carries, or "k=" to take it away; may be repeated', label)
    .action(set);
  addDeviceActs(device);
  speaksJson(device.command('enroll').description('enroll this machine and keep its credentials in a directory'))
    .requiredOption('--token <token>', 'bootstrap token: its text, @FILE, or - for standard input')
    .option('--id <id>', 'the device id wanted; without one the server chooses', deviceId)
    .requiredOption('--out <dir>', 'where key.pem, cert.pem and ca.pem are written')
    .action(enroll);
  return device;
}
