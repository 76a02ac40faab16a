import { Command, Option } from 'commander';
import { REVOCATION_REASONS, type RevocationReason } from '../../registry/index.ts';
import { duration, findsServer, integerBetween, runWithServer } from '../command-line.ts';
import { note, printJson, printResult, table } from '../terminal.ts';
import { readSerial } from './device-operations.ts';

interface Options {
  readonly within: number;
  readonly late?: true;
  readonly limit: number;
}

const PAGE = 1_000;

const expiring = runWithServer<Options>(async (server, { options: { within, late, limit }, form }) => {
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
  if (after !== undefined) note(`the first ${limit}; there are more: --limit`);
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
    note(`${holder} goes on with ${other.serial}${other.proven ? '' : ', which nobody has used yet'}`);
    if (other.descendant) {
      note(`${other.serial} was renewed from the one that is revoked: whoever had its key may have asked for it`);
    }
  }
});

export function certificatesCommand(): Command {
  const certificates = new Command('certificates').description('certificates of devices');
  findsServer(certificates.command('expiring').description('what ends soon, the most urgent first'))
    .option('--within <duration>', 'ends within', duration, 30 * 24 * 3_600_000)
    .option('--late', 'late to renew instead, ended or not')
    .option('--limit <number>', 'lines, at most', integerBetween(1, 1_000_000), 1_000)
    .action(expiring);
  findsServer(
    certificates
      .command('revoke')
      .argument('<serial>', 'as "rollcall device show ID" lists it')
      .description('revoke one certificate alone, where its holder has another that counts'),
  )
    .addOption(new Option('--reason <reason>', 'why (RFC 5280)').choices(REVOCATION_REASONS).makeOptionMandatory())
    .action(revoke);
  return certificates;
}
