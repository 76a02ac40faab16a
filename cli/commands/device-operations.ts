/** Commands that change the status of devices: each selects devices, lists them with --dry-run, and prints the proof of what was done. */

import { readFileSync } from 'node:fs';
import { type DeviceId, type GroupName, Problem, parseDeviceId } from '@rollcall/protocol';
import { type Command, Option } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { type DeviceOperationKind, REVOCATION_REASONS, type RevocationReason } from '../../registry/index.ts';
import { groupName, instant, label, runWithServer, withServerOptions } from '../command-line.ts';
import { confirmedText, unconfirmedTexts } from '../confirmation-text.ts';
import type { OutputForm } from '../terminal.ts';
import { note, printJson, printResult, table } from '../terminal.ts';

export interface ConfirmOptions {
  readonly dryRun?: boolean;
  readonly confirm?: string;
  readonly yes?: boolean;
}

interface OperationOptions extends ConfirmOptions {
  readonly group?: GroupName;
  readonly label?: Readonly<Record<string, string>>;
  readonly token?: string;
  readonly serial?: string;
  readonly issuedBefore?: number;
  readonly file?: string;
  readonly reason?: RevocationReason;
}

type OperationResult = Awaited<ReturnType<ConsoleClient['revokeDevices']>>;

const DONE: Readonly<Record<DeviceOperationKind, string>> = {
  revoke: 'revoked',
  suspend: 'suspended',
  resume: 'resumed',
  quarantine: 'in quarantine',
  disconnect: 'disconnected',
  delete: 'deleted',
};

const PURPOSE: Readonly<Record<DeviceOperationKind, string>> = {
  revoke: 'revoke devices: end their sessions and refuse all their certificates, for good',
  suspend: 'refuse devices until they are resumed; certificates and stored sessions stay',
  resume: 'make suspended or quarantined devices active again',
  quarantine: 'keep devices connected, with the rights of the policy quarantine/* only',
  disconnect: 'end the sessions of devices; they may connect again at once',
  delete: 'revoke devices and delete their records; their ids are free again',
};

export function addDeviceOperations(device: Command): void {
  for (const act of Object.keys(DONE) as DeviceOperationKind[]) {
    const command = withServerOptions(device.command(act).argument('[ids...]').description(PURPOSE[act]))
      .option('--group <group>', 'devices of this group', groupName)
      .option('--label <k=v>', 'devices with this label; may be repeated', label)
      .option('--token <id>', 'devices with a certificate that was issued from this bootstrap token, renewals included')
      .option('--serial <serial>', 'the device to which this certificate was issued; all its certificates are affected')
      .option('--issued-before <time>', 'devices whose newest certificate was issued before this time', instant)
      .option('--file <file>', 'devices listed in this file, one id a line; - for standard input');
    if (act === 'revoke') {
      command.addOption(
        new Option('--reason <reason>', 'reason (RFC 5280)').choices(REVOCATION_REASONS).makeOptionMandatory(),
      );
    }
    withConfirmOptions(command).action(
      runWithServer<OperationOptions>((server, { args, options, form }) =>
        applyOperation(server, act, args, options, form),
      ),
    );
  }
}

export function withConfirmOptions(command: Command): Command {
  return command
    .option('--dry-run', 'list the selected devices and print the confirmation for --confirm; change nothing')
    .option(
      '--confirm <confirmation>',
      'confirmation that --dry-run printed; refused when the selection has changed since',
    )
    .option('--yes', 'apply to every device that is selected, without a confirmation');
}

export function confirmOf({ confirm, yes }: ConfirmOptions): { readonly confirm?: string } {
  if (yes === true && confirm !== undefined)
    throw new Problem('usage', { reason: 'expected --confirm or --yes, found both' });
  if (yes === true) return { confirm: 'yes' };
  return confirm === undefined ? {} : { confirm };
}

async function applyOperation(
  server: ConsoleClient,
  act: DeviceOperationKind,
  args: readonly string[],
  options: OperationOptions,
  form: OutputForm,
): Promise<void> {
  const selector = selectorOf(args, options);
  const { reason } = options;
  if (options.dryRun === true) {
    printSelection(await server.selectDevices({ act, ...selector, ...(reason !== undefined && { reason }) }), form);
    if (act === 'revoke' && options.serial !== undefined) {
      note(
        'this revokes the device and every certificate of it; for one certificate: rollcall certificates revoke SERIAL',
      );
    }
    return;
  }
  const order = { ...selector, ...confirmOf(options) };
  const answer =
    act === 'revoke'
      ? await server.revokeDevices({ ...order, reason: reason as RevocationReason })
      : await server[`${act}Devices`](order);
  printProof(answer, form);
}

export function printSelection(found: Awaited<ReturnType<ConsoleClient['selectDevices']>>, form: OutputForm): void {
  if (form === 'json') {
    printJson(found);
    return;
  }
  for (const id of found.devices) printResult(id);
  if (found.count > found.devices.length) note(`and ${found.count - found.devices.length} more`);
  note(`${found.count} devices would be ${DONE[found.act]}; nothing was done`);
  if (found.count > 0) note(`to do it: --confirm ${found.confirmation}`);
}

export function printProof(answer: OperationResult, form: OutputForm): void {
  if (form === 'json') {
    printJson(answer);
    return;
  }
  const { devices, sessionsClosed, nodes, propagationMs, tookMs } = answer;
  const few = devices.slice(0, 20);
  printResult(
    table(
      ['DEVICE', 'STATUS', 'AT', 'LAST MESSAGE', 'SESSIONS CLOSED', 'BROKERS', 'AFTER'],
      few.map((d) => [
        d.device,
        d.status,
        d.at,
        d.lastMessageAt ?? '',
        String(d.sessionsClosed),
        String(d.brokersConfirmed),
        `${d.propagationMs.toFixed(1)} ms`,
      ]),
    ),
  );
  if (devices.length > few.length) printResult(`and ${devices.length - few.length} more`);
  const confirmed = `confirmed by ${confirmedText(nodes, answer.brokersConfirmed)}`;
  const last = `the last after ${propagationMs.toFixed(1)} ms; ${tookMs.toFixed(1)} ms in all`;
  printResult(`${devices.length} ${DONE[answer.act]}, ${sessionsClosed} live sessions closed, ${confirmed}, ${last}`);
  for (const text of unconfirmedTexts(nodes)) printResult(text);
}

function selectorOf(args: readonly string[], options: OperationOptions) {
  const { group, label: labels, token, serial, issuedBefore, file } = options;
  const ids = [...args.map(idOf), ...(file === undefined ? [] : idsIn(file))];
  if (ids.length === 0 && file !== undefined)
    throw new Problem('usage', { reason: `${file}: expected device ids, found none` });
  return {
    ...(ids.length > 0 && { ids }),
    ...(group !== undefined && { group }),
    ...(labels !== undefined && { labels }),
    ...(token !== undefined && { token }),
    ...(serial !== undefined && {
      serial: readSerial(serial),
    }),
    ...(issuedBefore !== undefined && { issuedBefore: new Date(issuedBefore).toISOString() }),
  };
}

/** Accepts serial numbers in capitals, with colons and with leading zeros, as other programs print them. */
export function readSerial(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(':', '')
    .replace(/^0+(?=.)/, '');
}

/** One id a line. Ignores empty lines and text behind a #. */
function idsIn(file: string): readonly DeviceId[] {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new Problem('usage', { reason: `${file}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be read'}` });
  }
  const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  return lines.filter((line) => line !== '').map(idOf);
}

function idOf(text: string): DeviceId {
  const id = parseDeviceId(text);
  if (id === undefined) {
    throw new Problem('usage', { reason: `expected a device id, found ${JSON.stringify(text.slice(0, 80))}` });
  }
  return id;
}
