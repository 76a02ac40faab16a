import { Command } from 'commander';
import { duration, findsServer, integerBetween, runWithServer } from '../command-line.ts';
import { note, printJson, printResult, table } from '../terminal.ts';

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

export function certificatesCommand(): Command {
  const certificates = new Command('certificates').description('certificates of devices');
  findsServer(certificates.command('expiring').description('what ends soon, the most urgent first'))
    .option('--within <duration>', 'ends within', duration, 30 * 24 * 3_600_000)
    .option('--late', 'late to renew instead, ended or not')
    .option('--limit <number>', 'lines, at most', integerBetween(1, 1_000_000), 1_000)
    .action(expiring);
  return certificates;
}
