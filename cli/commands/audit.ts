import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { Problem, parseDecimal } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import { AuditChainVerifier, type AuditHead, readExportedEntry } from '../../registry/index.ts';
import { instant, integerBetween, run, runWithServer, withServerOptions } from '../command-line.ts';
import { consoleAddressOf, type FleetOptions } from '../console-address.ts';
import { EXIT, type OutputForm, printJson, printResult, printStream, printTable } from '../terminal.ts';

interface ListOptions {
  readonly limit: number;
  readonly actor?: string;
  readonly action?: string;
  readonly subject?: string;
  readonly outcome?: 'done' | 'refused';
  readonly since?: number;
  readonly until?: number;
}

const list = runWithServer<ListOptions>(async (server, { options, form }) => {
  const { limit, actor, action, subject, outcome, since, until } = options;
  const entries = await server.listAudit({
    limit,
    ...(actor !== undefined && { actor }),
    ...(action !== undefined && { action }),
    ...(subject !== undefined && { subject }),
    ...(outcome !== undefined && { outcome }),
    ...(since !== undefined && { since: new Date(since).toISOString() }),
    ...(until !== undefined && { until: new Date(until).toISOString() }),
  });
  if (form === 'json') {
    for (const entry of entries) printJson(entry);
    return;
  }
  printTable(
    ['ENTRY', 'TIME', 'ACTOR', 'ACTION', 'SUBJECT', 'OUTCOME', 'DETAILS'],
    entries.map((e) => [
      String(e.id),
      e.at,
      e.actor,
      e.action,
      e.subject,
      e.outcome,
      Object.entries(e.details)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
    ]),
    { nothing: 'no audit entry matches' },
  );
});

interface VerifyOptions extends FleetOptions {
  readonly head?: string;
  readonly file?: string;
}

interface Verdict {
  readonly entries: number;
  readonly head: AuditHead;
  readonly fault?: string | undefined;
}

const verify = run<VerifyOptions>(async ({ options, form }) => {
  const verdict =
    options.file === undefined ? await verifyOnServer(options) : await verifyExport(options.file, options.head);
  printVerdict(verdict, form);
  if (verdict.fault !== undefined) process.exitCode = EXIT.refused;
});

async function verifyOnServer(options: VerifyOptions): Promise<Verdict> {
  const address = consoleAddressOf(options);
  const { openConsoleClient } = await import('../../console/client.ts');
  const server = openConsoleClient(address);
  try {
    return await server.verifyAudit(options.head === undefined ? {} : { head: options.head });
  } finally {
    await server.close();
  }
}

/** Verifies an exported file without a server. */
async function verifyExport(file: string, expectedHead: string | undefined): Promise<Verdict> {
  const check = new AuditChainVerifier(expectedHead === undefined ? undefined : headOf(expectedHead));
  const input = createReadStream(file);
  let line = 0;
  try {
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      line += 1;
      const entry = readExportedEntry(text);
      if (entry === undefined)
        return { entries: check.entries, head: check.head, fault: `line ${line} is not an audit entry` };
      check.add(entry);
    }
  } catch (error) {
    throw new Problem('usage', { reason: `${file}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be read'}` });
  }
  check.finish();
  return { entries: check.entries, head: check.head, fault: check.fault };
}

function headOf(text: string): AuditHead {
  const [, digits, hash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  const id = parseDecimal(digits, 0);
  if (id === undefined || hash === undefined) throw new Problem('usage', { reason: 'expected a head as ID:HASH' });
  return { id, hash };
}

function printVerdict({ entries, head, fault }: Verdict, form: OutputForm): void {
  if (form === 'json')
    printJson({ isWhole: fault === undefined, entries, head, ...(fault !== undefined && { fault }) });
  else if (fault !== undefined) printResult(`the audit is not intact: ${fault}`);
  else
    printResult(`the audit is intact: ${entries} entries; store its head on another machine: ${head.id}:${head.hash}`);
}

const exportEntries = runWithServer<{ readonly after?: number }>(async (server, { options }) => {
  const { after } = options;
  await printStream(server.exportAudit(after === undefined ? {} : { after }));
});

export function auditCommand(): Command {
  const audit = new Command('audit').description('audit log: list, verify, export');
  withServerOptions(audit.command('list').description('list audit entries, newest first'))
    .option('--limit <n>', 'list at most so many', integerBetween(1, 10_000), 100)
    .option('--actor <actor>', 'only what this actor did, such as operator/alice, or a kind: operator')
    .option('--action <action>', 'only this action, such as device.revoked, or a kind: device')
    .option('--subject <subject>', 'only entries about this subject, such as device/dev-7, or a kind: device')
    .addOption(new Option('--outcome <outcome>', 'only entries with this outcome').choices(['done', 'refused']))
    .option('--since <time>', 'at or after this time, or this long ago', instant)
    .option('--until <time>', 'before this time, or this long ago', instant)
    .action(list);
  withServerOptions(
    audit.command('verify').description('verify the hash chain: exit code 3 when an entry was changed or is missing'),
  )
    .option('--head <id:hash>', 'head stored on another machine, which must be part of the chain')
    .option('--file <file>', 'verify a file that "audit export" wrote; needs no server')
    .action(verify);
  withServerOptions(audit.command('export').description('print all entries, oldest first, one JSON value a line'))
    .option('--after <id>', 'only entries after this one', integerBetween(0, 999_999_999))
    .action(exportEntries);
  return audit;
}
