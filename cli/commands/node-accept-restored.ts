/** `rollcall node accept-restored` on a host whose node was refused because the database went back to an earlier state. */

import type { Command } from 'commander';
import { run, withJsonOption } from '../command-line.ts';
import { dataDirectoryOf } from '../console-address.ts';
import { note, printJson, printResult } from '../terminal.ts';

interface AcceptOptions {
  readonly config?: string;
  readonly data?: string;
  readonly store?: string;
  readonly nodeName?: string;
}

const accept = run<AcceptOptions>(async ({ options, form }) => {
  // Loaded here: other commands start faster without them.
  const { pino } = await import('pino');
  const { loadConfig } = await import('../../server/config/load.ts');
  const { acceptRestored } = await import('../../server/index.ts');
  const config = loadConfig({
    file: options.config,
    environment: process.env,
    flags: [
      [['data'], options.data ?? (options.config === undefined ? dataDirectoryOf({}) : undefined)],
      [['store', 'url'], options.store],
      [['node', 'name'], options.nodeName],
    ],
  });
  const accepted = await acceptRestored({ config, now: Date.now, log: pino({ level: 'silent' }) });
  if (form === 'json') return printJson(accepted);
  const { generation, lacks, auditEntry, auditAt, seenAt } = accepted;
  const asOf = auditAt === undefined ? '' : ` of ${new Date(auditAt).toISOString()}`;
  printResult(
    `accepted as generation ${generation} of the store: it ends with audit entry ${auditEntry}${asOf}\n${lacks}`,
  );
  note(
    `repeat the revocations and suspensions from then until ${new Date(seenAt).toISOString()} as soon as a node serves, ` +
      'and create tokens anew that were revoked; all sessions of operators have ended',
  );
});

export function addAcceptRestored(node: Command): void {
  withJsonOption(
    node
      .command('accept-restored')
      .description('accept that the database of the fleet was restored to an earlier state, so that its nodes start'),
  )
    .option('--config <file>', 'configuration of this node')
    .option('--data <dir>', 'data directory of this node (default: ./data)')
    .option('--store <url>', 'postgres://user@host/database (default: store.url of the configuration)')
    .option('--node-name <name>', 'name of this node (default: node.name of the configuration)')
    .action(accept);
}
