import { Command, Option } from 'commander';
import type { DeviceId, GroupName } from '../../contract/identity.ts';
import { isProblemCode, Problem } from '../../contract/problem.ts';
import { DeviceError } from '../../device-sdk/device-error.ts';
import { enrollOnce } from '../../device-sdk/enrollment.ts';
import { fileIdentityStore } from '../../device-sdk/file-identity-store.ts';
import { REVOCATION_REASONS, type RevocationReason } from '../../registry/registry.ts';
import { deviceId, findsServer, groupName, integerBetween, run, runWithServer, speaksJson } from '../command-line.ts';
import { readSecretArgument } from '../secret-argument.ts';
import { printJson, printResult, table } from '../terminal.ts';

interface ListOptions {
  readonly group?: GroupName;
  readonly status?: 'active' | 'revoked';
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
      `status    ${device.status}${device.revocationReason === undefined ? '' : ` (${device.revocationReason}, ${device.revokedAt})`}`,
      `enrolled  ${device.enrolledAt} by ${device.enrolledBy}`,
      `session   ${session === undefined ? 'not connected' : `from ${session.address} since ${session.connectedAt}`}`,
      '',
      table(
        ['CERTIFICATE', 'STATUS', 'NOT BEFORE', 'NOT AFTER'],
        device.certificates.map((c) => [c.serial, c.status, c.notBefore, c.notAfter]),
      ),
    ].join('\n'),
  );
});

const revoke = runWithServer<{ readonly reason: RevocationReason }>(async (server, { args, options, form }) => {
  const answer = await server.revokeDevices({ ids: [...args], reason: options.reason });
  if (form === 'json') printJson(answer);
  else {
    printResult(
      `${answer.revocations.length} of ${args.length} revoked, ${answer.sessionsClosed} live sessions closed, in ${answer.tookMs.toFixed(1)} ms`,
    );
  }
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
    .addOption(new Option('--status <status>', 'of this status only').choices(['active', 'revoked']))
    .option('--after <id>', 'ids greater than this one: the next page', deviceId)
    .option('--limit <n>', 'how many at most', integerBetween(1, 10_000), 100)
    .action(list);
  findsServer(
    device.command('show').argument('<id>').description('show a device, its certificates and its session'),
  ).action(show);
  findsServer(
    device.command('revoke').argument('<ids...>').description('cut devices off: sessions, certificates and all'),
  )
    .addOption(new Option('--reason <reason>', 'why (RFC 5280)').choices(REVOCATION_REASONS).makeOptionMandatory())
    .action(revoke);
  speaksJson(device.command('enroll').description('enroll this machine and keep its credentials in a directory'))
    .requiredOption('--token <token>', 'bootstrap token: its text, @FILE, or - for standard input')
    .option('--id <id>', 'the device id wanted; without one the server chooses', deviceId)
    .requiredOption('--out <dir>', 'where key.pem, cert.pem and ca.pem are written')
    .action(enroll);
  return device;
}
