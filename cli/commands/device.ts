import { type GroupName, Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import { deviceId, groupName, label, runLater, runWithServer, withServerOptions } from '../command-line.ts';
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
    .action(runLater(async () => (await import('./device-enroll.ts')).enroll));
  return device;
}
