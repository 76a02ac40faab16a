import { type GroupName, Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import { duration, groupName, runWithServer, withServerOptions } from '../command-line.ts';
import { printJson, printResult } from '../terminal.ts';
import { askedToRenew, parseCaId } from './ca.ts';

interface PullOptions {
  readonly group?: GroupName;
  readonly issuer?: string;
  readonly all?: boolean;
  readonly within: number;
}

const pull = runWithServer<PullOptions>(async (server, { options: { group, issuer, all, within }, form }) => {
  if (group === undefined && issuer === undefined && all !== true) {
    throw new Problem('usage', { reason: 'expected --group, --issuer or --all' });
  }
  const answer = await server.pullRenewals({
    withinSeconds: Math.round(within / 1000),
    ...(group !== undefined && { group }),
    ...(issuer !== undefined && { issuer }),
  });
  if (form === 'json') printJson(answer);
  else printResult(`${askedToRenew(answer)} until ${answer.until}, ${answer.perSecond.toFixed(2)} a second`);
});

const status = runWithServer<{ readonly group?: GroupName }>(async (server, { options, form }) => {
  const found = await server.renewalStatus(options.group === undefined ? {} : { group: options.group });
  if (form === 'json') return printJson(found);
  printResult(
    [
      `devices            ${found.devices}`,
      `window open        ${found.due}`,
      `late               ${found.late}`,
      `pulled forward     ${found.pulled}`,
      `end within 7 days  ${found.endingIn7Days}`,
      `end within 30 days ${found.endingIn30Days}`,
      `next hour          ${found.nextHourPerSecond.toFixed(2)} a second of ${found.budgetPerSecond}`,
    ].join('\n'),
  );
});

export function renewalsCommand(): Command {
  const renewals = new Command('renewals').description(
    'certificate renewals: show what is due, ask devices and services to renew earlier',
  );
  withServerOptions(
    renewals.command('status').description('show how many devices are due, late or near the end of their certificate'),
  )
    .option('--group <name>', 'only devices of this group', groupName)
    .action(status);
  withServerOptions(renewals.command('pull').description('ask devices and services to renew earlier'))
    .option('--group <name>', 'devices of this group', groupName)
    .option('--issuer <ca>', 'devices and services whose certificate this CA issued', parseCaId)
    .option('--all', 'every device and service')
    .option(
      '--within <duration>',
      'time in which all of them renew; longer if the renewal budget requires it',
      duration,
      3_600_000,
    )
    .action(pull);
  return renewals;
}
