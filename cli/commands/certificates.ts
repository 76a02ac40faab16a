import { Command, Option } from 'commander';
import { EXPIRING_KINDS, type ExpiringKind, REVOCATION_REASONS, type RevocationReason } from '../../registry/index.ts';
import { formatDuration } from '../../server/config/index.ts';
import { duration, integerBetween, runWithServer, someOf, withServerOptions } from '../command-line.ts';
import { confirmedText, unconfirmedTexts } from '../confirmation-text.ts';
import { counted, note, printJson, printResult, printTable, timeAway } from '../terminal.ts';
import { readSerial } from './device-operations.ts';

interface ExpiringOptions {
  readonly within: number;
  readonly kind?: readonly ExpiringKind[];
  readonly late?: true;
  readonly limit: number;
}

const PAGE = 1_000;

const expiring = runWithServer<ExpiringOptions>(async (server, { options, form }) => {
  const { within, late, limit, kind } = options;
  const which = late === true ? 'late' : 'ending';
  const kinds = kind === undefined ? {} : { kind: kind.join(',') };
  const found: Awaited<ReturnType<typeof server.listExpiring>>['expiring'] = [];
  let after: string | undefined;
  do {
    const page = await server.listExpiring({
      ...{ which, withinSeconds: Math.max(1, Math.round(within / 1000)), limit: Math.min(PAGE, limit - found.length) },
      ...kinds,
      ...(after !== undefined && { after }),
    });
    found.push(...page.expiring);
    after = page.next;
  } while (after !== undefined && found.length < limit);
  if (form === 'json') return printJson(found);
  const now = Date.now();
  printTable(
    ['KIND', 'NAME', 'EXPIRES', 'IN', 'ID', 'RENEWED BY'],
    found.map((each) => [
      ...[each.kind, each.name, each.expiresAt, timeAway(Date.parse(each.expiresAt), now), each.id],
      each.action + (each.lateSince === undefined ? '' : ', late'),
    ]),
    { nothing: late === true ? 'nothing is late to renew' : `nothing expires within ${formatDuration(within)}` },
  );
  if (after !== undefined) return note(`listed the first ${limit}; there are more: use --limit`);
  if (found.length > 0) {
    note(`${late === true ? 'late to renew' : `within ${formatDuration(within)}`}: ${summaryOf(found)}`);
  }
  if (late === true) return;
  const overdue = await server.listExpiring({ which: 'late', limit: 1, ...kinds });
  if (overdue.expiring.length > 0) note('some are late to renew or expired already: list them with --late');
});

/** `3 devices, 1 service`, in the order of the list. */
function summaryOf(items: readonly { readonly kind: ExpiringKind }[]): string {
  const amounts = new Map<ExpiringKind, number>();
  for (const { kind } of items) amounts.set(kind, (amounts.get(kind) ?? 0) + 1);
  return [...amounts].map(([kind, amount]) => counted(amount, KIND_NOUNS[kind])).join(', ');
}

const KIND_NOUNS: Readonly<Record<ExpiringKind, string>> = {
  device: 'device',
  service: 'service',
  token: 'bootstrap token',
  'operator-key': 'API key',
  server: 'server certificate',
  root: 'root',
  'issuing-ca': 'issuing CA',
  'cross-certificate': 'cross-certificate',
  'ocsp-signer': 'OCSP signer',
  crl: 'CRL',
};

const revoke = runWithServer<{ readonly reason: RevocationReason }>(async (server, { args, options, form }) => {
  const serial = readSerial(args[0] as string);
  const answer = await server.revokeCertificate({ serial, reason: options.reason });
  if (form === 'json') return printJson(answer);
  const { holder, others, sessionsClosed, nodes, propagationMs } = answer;
  const confirmed = `confirmed by ${confirmedText(nodes, answer.brokersConfirmed)} after ${propagationMs.toFixed(1)} ms`;
  printResult(
    `certificate ${answer.serial} of ${holder} is revoked; ${sessionsClosed} live sessions closed, ${confirmed}`,
  );
  for (const text of unconfirmedTexts(nodes)) printResult(text);
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
  const certificates = new Command('certificates').description('certificates: list what expires, revoke one');
  withServerOptions(
    certificates
      .command('expiring')
      .description('list what expires soon: certificates, CAs, CRLs, bootstrap tokens; the earliest first'),
  )
    .option('--within <duration>', 'what expires within this time', duration, 30 * 24 * 3_600_000)
    .option('--kind <kind>', `one or more of ${EXPIRING_KINDS.join(', ')}`, someOf(EXPIRING_KINDS))
    .option('--late', 'list what is late to renew instead, expired or not')
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
