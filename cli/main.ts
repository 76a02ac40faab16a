/** The table of commands, and the error for a command line that cannot be parsed. */

import { standardOutput } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import { Command, CommanderError } from 'commander';
import { runtime, version } from '../server/config/index.ts';
import { findBun } from './bun.ts';
import { explainFailure } from './terminal.ts';

// By default SIGUSR1 opens Node's inspector and SIGUSR2 ends the process. This program ignores both.
for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});

/** A command's module is loaded when the command is called, so that it starts without the modules of the others. */
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
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
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
  .description('self-hosted MQTT broker with a built-in EST certificate authority for IoT fleets')
  .version(versions())
  // An option behind a command belongs to that command.
  .enablePositionalOptions();

const [name = ''] = process.argv.slice(2);
const loaders = Object.hasOwn(COMMANDS, name) ? [COMMANDS[name]] : Object.values(COMMANDS);
for (const load of loaders) if (load !== undefined) program.addCommand(await load());

throwErrors(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
}

/** The version of Rollcall alone is on the first line, for scripts. */
function versions(): string {
  const bun = runtime.name === 'bun' ? runtime.version : (findBun()?.version ?? 'not installed');
  return `${version}\nnode ${process.versions.node}\nbun ${bun}`;
}

/** Makes commander throw instead of exit, and print no error itself, in this command and all below it. */
function throwErrors(command: Command): void {
  command.exitOverride().configureOutput({
    outputError: () => {},
    writeOut: (text) => standardOutput.write(text),
  });
  for (const child of command.commands) throwErrors(child);
}

function exitCodeOf(error: unknown): number {
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
