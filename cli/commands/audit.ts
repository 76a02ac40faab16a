import { Command } from 'commander';
import { findsServer, integerBetween, runWithServer } from '../command-line.ts';
import { printJson, printResult, table } from '../terminal.ts';

const list = runWithServer<{ readonly limit: number }>(async (server, { options, form }) => {
  const entries = await server.listAudit({ limit: options.limit });
  if (form === 'json') {
    for (const entry of entries) printJson(entry);
    return;
  }
  printResult(
    table(
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
    ),
  );
});

export function auditCommand(): Command {
  const audit = new Command('audit').description('who did what to whom');
  findsServer(audit.command('list').description('list audit entries, newest first'))
    .option('--limit <n>', 'how many at most', integerBetween(1, 10_000), 100)
    .action(list);
  return audit;
}
