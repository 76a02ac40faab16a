import { Command, Option } from 'commander';
import { REVOCATION_REASONS, type RevocationReason } from '../../registry/index.ts';
import { duration, integerBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { note, printJson, printResult, table } from '../terminal.ts';
import { readSerial } from './device-operations.ts';

interface ExpiringOptions {
  readonly within: number;
  readonly late?: true;
  readonly limit: number;
}

const PAGE = 1_000;

const expiring = runWithServer<ExpiringOptions>(async (server, { options: { within, late, limit }, form }) => {
  const found: Awaited<ReturnType<typeof server.listExpiring>>['certificates'] = [];
  let after: string | undefined;
  do {
    const page = await server.listExpiring({
      which: late === true ? 'late' : 'ending',
      withinSeconds: Math.max(1, Math.round(within / 1000)),
      limit: Math.min(PAGE, limit - found.length),
      ...(after !== undefined && { after }),
    });
    found.push(...page.certificates);
    after = page.next;
  } while (after !== undefined && found.length < limit);
  if (form === 'json') return printJson(found);
  printResult(
    table(
      ['DEVICE', 'GROUP', 'ENDS', 'LATE SINCE', 'SERIAL'],
      found.map(({ device, group, notAfter, lateSince, serial }) => [device, group, notAfter, lateSince ?? '', serial]),
    ),
  );
  if (after !== undefined) note(`listed the first ${limit}; there are more: use --limit`);
});

const revoke = runWithServer<{ readonly reason: RevocationReason }>(async (server, { args, options, form }) => {
  const serial = readSerial(args[0] as string);
  const answer = await server.revokeCertificate({ serial, reason: options.reason });
  if (form === 'json') return printJson(answer);
  const { holder, others, sessionsClosed, brokersConfirmed, propagationMs } = answer;
  printResult(
    `certificate ${answer.serial} of ${holder} is revoked; ${sessionsClosed} live sessions closed, confirmed by ${brokersConfirmed} brokers after ${propagationMs.toFixed(1)} ms`,
  );
  for (const other of others) {
    note(`${holder} still has ${other.serial}${other.proven ? '' : ', which has not been used yet'}`);
    if (other.descendant) {
      note(
        `${other.serial} was renewed from the revoked certificate: anyone with the key of that may have requested it`,
      );
    }
  }
});

export function certificatesCommand(): Command {
  const certificates = new Command('certificates').description('certificates: list those that expire, revoke one');
  withServerOptions(
    certificates.command('expiring').description('list certificates that expire soon, the earliest first'),
  )
    .option('--within <duration>', 'that expire within this time', duration, 30 * 24 * 3_600_000)
    .option('--late', 'list those that are late to renew instead, expired or not')
    .option('--limit <number>', 'list at most so many', integerBetween(1, 1_000_000), 1_000)
    .action(expiring);
  withServerOptions(
    certificates
      .command('revoke')
      .argument('<serial>', 'serial number, as "rollcall device show ID" prints it')
      .description('revoke one certificate of a device or service that has another valid one'),
  )
    .addOption(new Option('--reason <reason>', 'reason (RFC 5280)').choices(REVOCATION_REASONS).makeOptionMandatory())
    .action(revoke);
  return certificates;
}
