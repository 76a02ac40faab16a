import { type GroupName, Problem, parseFraction } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import { KEY_ALGORITHMS, type KeyAlgorithm, MAX_GROUP_DEVICES } from '../../registry/index.ts';
import { duration, findsServer, groupName, integerBetween, runWithServer } from '../command-line.ts';
import { printJson, printResult } from '../terminal.ts';

interface Settings {
  readonly lifetime?: number;
  readonly keys?: readonly KeyAlgorithm[];
  readonly maxDevices?: number;
  readonly renewal?: { readonly from: number; readonly to: number };
  readonly clear?: true;
}

const show = runWithServer(async (server, { args, form }) => {
  const found = await server.showGroupProfile({ group: args[0] as GroupName });
  if (form === 'json') return printJson(found);
  const { lifetimeSeconds, keys, maxDevices, renewal } = found.profile;
  printResult(
    [
      found.isSet ? `profile of ${found.group}` : `${found.group} has no profile: it is like any other group`,
      `lifetime     ${lifetimeSeconds === undefined ? 'as configured' : `${lifetimeSeconds} s`}`,
      `keys         ${keys === undefined ? 'P-256, P-384, RSA' : keys.join(', ')}`,
      `devices      ${maxDevices === undefined ? 'any number' : `${maxDevices} at most`}`,
      `renewal      ${renewal === undefined ? 'as usual' : `from ${renewal.from} to ${renewal.to} of a life`}`,
    ].join('\n'),
  );
});

/** What isn't named stays as it is. */
const set = runWithServer<Settings>(async (server, { args, options, form }) => {
  const group = args[0] as GroupName;
  const { lifetime, keys, maxDevices, renewal, clear } = options;
  const named = {
    ...(lifetime !== undefined && { lifetimeSeconds: Math.round(lifetime / 1000) }),
    ...(keys !== undefined && { keys: [...keys] }),
    ...(maxDevices !== undefined && { maxDevices }),
    ...(renewal !== undefined && { renewal }),
  };
  if (Object.keys(named).length === 0 && clear === undefined) {
    throw new Problem('usage', { reason: 'expected --lifetime, --keys, --max-devices, --renewal or --clear' });
  }
  const before = clear === undefined ? (await server.showGroupProfile({ group })).profile : {};
  const answer = await server.setGroupProfile({ group, ...before, ...named });
  if (form === 'json') printJson(answer);
  else printResult(`profile of ${group} is set; certificates follow it from now on`);
});

function keyList(text: string): readonly KeyAlgorithm[] {
  const found = text
    .split(',')
    .map((word) => KEY_ALGORITHMS.find((key) => key.toLowerCase() === word.trim().toLowerCase()));
  if (found.includes(undefined)) throw new Problem('usage', { reason: `expected some of ${KEY_ALGORITHMS.join(',')}` });
  return found as readonly KeyAlgorithm[];
}

function partsOfLife(text: string): { readonly from: number; readonly to: number } {
  const [from, to] = text.split('-', 2).map((part) => parseFraction(part, 0, 1));
  if (from === undefined || to === undefined)
    throw new Problem('usage', { reason: 'expected parts of a life: 0.6-0.8' });
  return { from, to };
}

export function groupCommand(): Command {
  const group = new Command('group').description('groups of devices');
  const profile = group.command('profile').description('what the certificates of a group are like');
  findsServer(profile.command('show').argument('<group>', 'name', groupName).description('show it')).action(show);
  findsServer(profile.command('set').argument('<group>', 'name', groupName))
    .description('change what is named; the rest stays')
    .option('--lifetime <duration>', 'of a certificate: 1h to 397d', duration)
    .addOption(new Option('--keys <kinds>', `some of ${KEY_ALGORITHMS.join(',')}`).argParser(keyList))
    .option('--max-devices <number>', 'devices that are not revoked, at most', integerBetween(1, MAX_GROUP_DEVICES))
    .addOption(new Option('--renewal <from-to>', 'parts of a life, such as 0.6-0.8').argParser(partsOfLife))
    .option('--clear', 'begin with an empty profile; alone: take it away')
    .action(set);
  return group;
}
