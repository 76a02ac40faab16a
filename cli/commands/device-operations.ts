/** The orders on devices: each names devices or what they have in common, shows them with --dry-run, and prints its proof. */

import { readFileSync } from 'node:fs';
import { type DeviceId, type GroupName, Problem, parseDeviceId } from '@rollcall/protocol';
import { type Command, Option } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { type DeviceOperationKind, REVOCATION_REASONS, type RevocationReason } from '../../registry/index.ts';
import { findsServer, groupName, instant, label, runWithServer } from '../command-line.ts';
import type { OutputForm } from '../terminal.ts';
import { note, printJson, printResult, table } from '../terminal.ts';

export interface ConfirmOptions {
  readonly dryRun?: boolean;
  readonly confirm?: string;
  readonly yes?: boolean;
}

interface ActOptions extends ConfirmOptions {
  readonly group?: GroupName;
  readonly label?: Readonly<Record<string, string>>;
  readonly token?: string;
  readonly serial?: string;
  readonly issuedBefore?: number;
  readonly file?: string;
  readonly reason?: RevocationReason;
}

type ActAnswer = Awaited<ReturnType<ConsoleClient['revokeDevices']>>;

const DONE: Readonly<Record<DeviceOperationKind, string>> = {
  revoke: 'revoked',
  suspend: 'suspended',
  resume: 'resumed',
  quarantine: 'in quarantine',
  disconnect: 'disconnected',
  delete: 'deleted',
};

const PURPOSE: Readonly<Record<DeviceOperationKind, string>> = {
  revoke: 'cut devices off for good: sessions, certificates and all',
  suspend: 'keep devices out until they are resumed; nothing of theirs is lost',
  resume: 'let suspended or quarantined devices be as before',
  quarantine: 'keep devices connected, under the policy quarantine/* alone',
  disconnect: 'end sessions; the devices may come back at once',
  delete: 'revoke devices and forget them; their names are free again',
};

export function addDeviceActs(device: Command): void {
  for (const act of Object.keys(DONE) as DeviceOperationKind[]) {
    const command = findsServer(device.command(act).argument('[ids...]').description(PURPOSE[act]))
      .option('--group <group>', 'those of this group', groupName)
      .option('--label <k=v>', 'those that carry this label; may be repeated', label)
      .option('--token <id>', 'those whose certificates go back to this bootstrap token')
      .option('--serial <serial>', 'the device that was issued this certificate, with all that it holds')
      .option('--issued-before <time>', 'those whose newest certificate is older than this', instant)
      .option('--file <file>', 'those that this file names, one id a line; - for standard input');
    if (act === 'revoke') {
      command.addOption(
        new Option('--reason <reason>', 'why (RFC 5280)').choices(REVOCATION_REASONS).makeOptionMandatory(),
      );
    }
    asksForConfirmation(command).action(
      runWithServer<ActOptions>((server, { args, options, form }) => carryOut(server, act, args, options, form)),
    );
  }
}

export function asksForConfirmation(command: Command): Command {
  return command
    .option('--dry-run', 'say which devices are meant, and the confirmation that --confirm wants')
    .option('--confirm <confirmation>', 'what the dry run printed: nothing is done if other devices are meant by now')
    .option('--yes', 'whichever devices are meant; for scripts');
}

export function confirmOf({ confirm, yes }: ConfirmOptions): { readonly confirm?: string } {
  if (yes === true && confirm !== undefined)
    throw new Problem('usage', { reason: 'expected --confirm or --yes, found both' });
  if (yes === true) return { confirm: 'yes' };
  return confirm === undefined ? {} : { confirm };
}

async function carryOut(
  server: ConsoleClient,
  act: DeviceOperationKind,
  args: readonly string[],
  options: ActOptions,
  form: OutputForm,
): Promise<void> {
  const selector = selectorOf(args, options);
  const { reason } = options;
  if (options.dryRun === true) {
    printSelection(await server.selectDevices({ act, ...selector, ...(reason !== undefined && { reason }) }), form);
    if (act === 'revoke' && options.serial !== undefined) {
      note('that is the whole device, with every certificate; one alone: rollcall certificates revoke SERIAL');
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

export function printProof(answer: ActAnswer, form: OutputForm): void {
  if (form === 'json') {
    printJson(answer);
    return;
  }
  const { devices, sessionsClosed, brokersConfirmed, propagationMs, tookMs } = answer;
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
  printResult(
    `${devices.length} ${DONE[answer.act]}, ${sessionsClosed} live sessions closed, confirmed by ${brokersConfirmed} brokers, the last after ${propagationMs.toFixed(1)} ms; ${tookMs.toFixed(1)} ms in all`,
  );
}

function selectorOf(args: readonly string[], options: ActOptions) {
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

/** As certificates and other programs write serials: in capitals, with colons, with zeros in front. */
export function readSerial(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(':', '')
    .replace(/^0+(?=.)/, '');
}

/** One id a line; empty lines and what follows a # are left out. */
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
