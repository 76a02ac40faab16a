import { type GroupName, Problem, parseFraction } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import { KEY_ALGORITHMS, type KeyAlgorithm, MAX_GROUP_DEVICES } from '../../registry/index.ts';
import { durationBetween, groupName, integerBetween, runWithServer, withServerOptions } from '../command-line.ts';
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
      found.isSet ? `profile of ${found.group}` : `${found.group} has no profile; the defaults apply`,
      `lifetime     ${lifetimeSeconds === undefined ? 'default' : `${lifetimeSeconds} s`}`,
      `keys         ${keys === undefined ? 'P-256, P-384, RSA' : keys.join(', ')}`,
      `devices      ${maxDevices === undefined ? 'unlimited' : `at most ${maxDevices}`}`,
      `renewal      ${renewal === undefined ? 'default' : `from ${renewal.from} to ${renewal.to} of the lifetime`}`,
    ].join('\n'),
  );
});

/** Settings that are not named stay unchanged. */
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
  else printResult(`profile of ${group} is set; it applies to certificates issued from now on`);
});

function keyList(text: string): readonly KeyAlgorithm[] {
  const found = text
    .split(',')
    .map((word) => KEY_ALGORITHMS.find((key) => key.toLowerCase() === word.trim().toLowerCase()));
  if (found.includes(undefined)) throw new Problem('usage', { reason: `expected some of ${KEY_ALGORITHMS.join(',')}` });
  return found as readonly KeyAlgorithm[];
}

function partsOfLifetime(text: string): { readonly from: number; readonly to: number } {
  const [from, to] = text.split('-', 2).map((part) => parseFraction(part, 0, 1));
  if (from === undefined || to === undefined)
    throw new Problem('usage', { reason: 'expected two parts of the lifetime, such as 0.6-0.8' });
  return { from, to };
}

export function groupCommand(): Command {
  const group = new Command('group').description('groups of devices: show and set the certificate profile');
  const profile = group
    .command('profile')
    .description('certificate profile of a group: lifetime, kinds of keys, number of devices, renewal window');
  withServerOptions(
    profile.command('show').argument('<group>', 'name', groupName).description('show the profile'),
  ).action(show);
  withServerOptions(profile.command('set').argument('<group>', 'name', groupName))
    .description('set the named settings; the others stay unchanged')
    .option('--lifetime <duration>', 'lifetime of a certificate: 1h to 397d', durationBetween('1h', '397d'))
    .addOption(new Option('--keys <kinds>', `some of ${KEY_ALGORITHMS.join(',')}`).argParser(keyList))
    .option(
      '--max-devices <number>',
      'at most so many devices that are not revoked',
      integerBetween(1, MAX_GROUP_DEVICES),
    )
    .addOption(
      new Option('--renewal <from-to>', 'renewal window in parts of the lifetime, such as 0.6-0.8').argParser(
        partsOfLifetime,
      ),
    )
    .option('--clear', 'clear all other settings; without another option: remove the profile')
    .action(set);
  return group;
}
