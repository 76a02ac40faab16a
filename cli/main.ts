/** The table of commands, and how the program ends when a command line can't be understood. */

import { Command, CommanderError } from 'commander';
import { standardOutput } from '../output/standard-streams.ts';
import { Problem } from '../protocol/problem.ts';
import { version } from '../server/version.ts';
import { auditCommand } from './commands/audit.ts';
import { backupCommand } from './commands/backup.ts';
import { caCommand } from './commands/ca.ts';
import { certificatesCommand } from './commands/certificates.ts';
import { demoCommand } from './commands/demo.ts';
import { deviceCommand } from './commands/device.ts';
import { drillCommand } from './commands/drill.ts';
import { eventsCommand } from './commands/events.ts';
import { groupCommand } from './commands/group.ts';
import { imageCommand } from './commands/image.ts';
import { policyCommand } from './commands/policy.ts';
import { renewalsCommand } from './commands/renewals.ts';
import { restoreCommand } from './commands/restore.ts';
import { serveCommand } from './commands/serve.ts';
import { serviceCommand } from './commands/service.ts';
import { simulateCommand } from './commands/simulate.ts';
import { sinkCommand } from './commands/sink.ts';
import { telemetryCommand } from './commands/telemetry.ts';
import { tokenCommand } from './commands/token.ts';
import { explainFailure } from './terminal.ts';

// SIGUSR1 opens Node's inspector, SIGUSR2 ends a process: neither is an order to this program.
for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});

const program = new Command('rollcall')
  .description('enrolls IoT devices, brokers their telemetry over mutual TLS, and cuts off what is lost')
  .version(version)
  .enablePositionalOptions() // what stands after a command is the command's
  .addCommand(serveCommand())
  .addCommand(tokenCommand())
  .addCommand(deviceCommand())
  .addCommand(imageCommand())
  .addCommand(serviceCommand())
  .addCommand(certificatesCommand())
  .addCommand(groupCommand())
  .addCommand(policyCommand())
  .addCommand(telemetryCommand())
  .addCommand(eventsCommand())
  .addCommand(sinkCommand())
  .addCommand(simulateCommand())
  .addCommand(caCommand())
  .addCommand(drillCommand())
  .addCommand(renewalsCommand())
  .addCommand(auditCommand())
  .addCommand(backupCommand())
  .addCommand(restoreCommand())
  .addCommand(demoCommand());

quietly(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = endOfParsing(error);
}

/** Commander throws instead of exiting, and leaves the words to us, in every command below this one. */
function quietly(command: Command): void {
  command.exitOverride().configureOutput({
    outputError: () => {},
    writeOut: (text) => standardOutput.write(text),
  });
  for (const child of command.commands) quietly(child);
}

function endOfParsing(error: unknown): number {
  const form = process.argv.includes('--json') ? 'json' : 'text';
  if (!(error instanceof CommanderError)) return explainFailure(error, form, Date.now());
  if (error.exitCode === 0) return 0; // --help and --version
  const reason =
    error.code === 'commander.help' ? 'expected a command' : error.message.replace(/^error: /, '').replace(/\s+/g, ' ');
  return explainFailure(
    new Problem('usage', { reason, hint: 'rollcall --help, or --help after a command' }),
    form,
    Date.now(),
  );
}
