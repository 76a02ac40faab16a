/** The table of commands, and how the program ends when a command line can't be understood. */

import { standardOutput } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import { Command, CommanderError } from 'commander';
import { version } from '../server/config/index.ts';
import { explainFailure } from './terminal.ts';

// SIGUSR1 opens Node's inspector, SIGUSR2 ends a process: neither is an order to this program.
for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});

/** Loaded when it is called: a command starts without the modules of the others. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./commands/serve.ts')).serveCommand(),
  token: async () => (await import('./commands/token.ts')).tokenCommand(),
  device: async () => (await import('./commands/device.ts')).deviceCommand(),
  image: async () => (await import('./commands/image.ts')).imageCommand(),
  service: async () => (await import('./commands/service.ts')).serviceCommand(),
  certificates: async () => (await import('./commands/certificates.ts')).certificatesCommand(),
  group: async () => (await import('./commands/group.ts')).groupCommand(),
  policy: async () => (await import('./commands/policy.ts')).policyCommand(),
  telemetry: async () => (await import('./commands/telemetry.ts')).telemetryCommand(),
  events: async () => (await import('./commands/events.ts')).eventsCommand(),
  sink: async () => (await import('./commands/sink.ts')).sinkCommand(),
  simulate: async () => (await import('./commands/simulate.ts')).simulateCommand(),
  ca: async () => (await import('./commands/ca.ts')).caCommand(),
  drill: async () => (await import('./commands/drill.ts')).drillCommand(),
  renewals: async () => (await import('./commands/renewals.ts')).renewalsCommand(),
  audit: async () => (await import('./commands/audit.ts')).auditCommand(),
  backup: async () => (await import('./commands/backup.ts')).backupCommand(),
  restore: async () => (await import('./commands/restore.ts')).restoreCommand(),
  demo: async () => (await import('./commands/demo.ts')).demoCommand(),
};

const program = new Command('rollcall')
  .description('enrolls IoT devices, brokers their telemetry over mutual TLS, and cuts off what is lost')
  .version(version)
  // What stands after a command is the command's.
  .enablePositionalOptions();

const [asked = ''] = process.argv.slice(2);
const called = Object.hasOwn(COMMANDS, asked) ? [COMMANDS[asked]] : Object.values(COMMANDS);
for (const load of called) if (load !== undefined) program.addCommand(await load());

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
