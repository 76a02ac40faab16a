/** The table of commands. A command's module is loaded when it is called, so that it starts without the modules of the others. */

import { closestWord } from '@rollcall/output';
import { type Argument, Command, InvalidArgumentError, type Option } from 'commander';
import { formatDuration, runtime, version } from '../server/config/index.ts';
import { findBun } from './bun.ts';
import { isDurationParser } from './command-line.ts';

const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./commands/serve.ts')).serveCommand(),
  token: async () => (await import('./commands/token.ts')).tokenCommand(),
  device: async () => (await import('./commands/device.ts')).deviceCommand(),
  image: async () => (await import('./commands/image.ts')).imageCommand(),
  service: async () => (await import('./commands/service.ts')).serviceCommand(),
  certificates: async () => (await import('./commands/certificates.ts')).certificatesCommand(),
  operator: async () => (await import('./commands/operator.ts')).operatorCommand(),
  group: async () => (await import('./commands/group.ts')).groupCommand(),
  policy: async () => (await import('./commands/policy.ts')).policyCommand(),
  telemetry: async () => (await import('./commands/telemetry.ts')).telemetryCommand(),
  events: async () => (await import('./commands/events.ts')).eventsCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  node: async () => (await import('./commands/node.ts')).nodeCommand(),
  top: async () => (await import('./commands/top.ts')).topCommand(),
  sink: async () => (await import('./commands/sink.ts')).sinkCommand(),
  simulate: async () => (await import('./commands/simulate.ts')).simulateCommand(),
  ca: async () => (await import('./commands/ca.ts')).caCommand(),
  drill: async () => (await import('./commands/drill.ts')).drillCommand(),
  renewals: async () => (await import('./commands/renewals.ts')).renewalsCommand(),
  audit: async () => (await import('./commands/audit.ts')).auditCommand(),
  backup: async () => (await import('./commands/backup.ts')).backupCommand(),
  restore: async () => (await import('./commands/restore.ts')).restoreCommand(),
  migrate: async () => (await import('./commands/migrate.ts')).migrateCommand(),
  completion: async () => (await import('./commands/completion.ts')).completionCommand(() => buildProgram()),
  man: async () => (await import('./commands/completion.ts')).manCommand(() => buildProgram()),
  demo: async () => (await import('./commands/demo.ts')).demoCommand(),
};

/** They need no command. */
const VERSION_FLAGS = new Set(['--version', '-V']);

/** The program with one of its commands, or with all of them when no command has this name. */
export async function buildProgram(name = ''): Promise<Command> {
  const program = new Command('rollcall')
    .description('self-hosted MQTT broker with a built-in EST certificate authority for IoT fleets')
    .version(versions())
    // An option behind a command belongs to that command.
    .enablePositionalOptions();
  const loaders = Object.hasOwn(COMMANDS, name)
    ? [COMMANDS[name]]
    : VERSION_FLAGS.has(name)
      ? []
      : Object.values(COMMANDS);
  for (const load of loaders)
    if (load !== undefined) program.addCommand(await load(), { hidden: load === COMMANDS.man });
  for (const { command } of commandsOf(program)) {
    for (const option of command.options) describeDefault(option);
    for (const each of [...command.options, ...command.registeredArguments]) suggestChoice(each);
  }
  return program;
}

export interface NamedCommand {
  /** Without the program: `ca rotate prepare`; empty for the program itself. */
  readonly path: string;
  readonly command: Command;
}

/** A command and all below it, also hidden ones. */
export function* commandsOf(command: Command, path = ''): Generator<NamedCommand> {
  yield { path, command };
  for (const child of command.commands)
    yield* commandsOf(child, path === '' ? child.name() : `${path} ${child.name()}`);
}

/** The error about a value that is none of a closed list names the one that was probably meant. */
function suggestChoice(choosing: Option | Argument): void {
  const { argChoices, parseArg } = choosing;
  if (argChoices === undefined || parseArg === undefined) return;
  choosing.parseArg = <T>(text: string, previous: T): T => {
    try {
      return parseArg(text, previous);
    } catch (error) {
      const meant = closestWord(text, argChoices);
      if (!(error instanceof InvalidArgumentError) || meant === undefined) throw error;
      throw new InvalidArgumentError(`${error.message} (Did you mean ${meant}?)`);
    }
  };
}

/** Help shows a default duration as a person writes it. */
function describeDefault(option: Option): void {
  if (!isDurationParser(option.parseArg) || option.defaultValueDescription !== undefined) return;
  const ms: unknown = option.defaultValue;
  if (typeof ms === 'number') option.default(ms, formatDuration(ms));
}

/** The version of Rollcall alone is on the first line, for scripts. */
function versions(): string {
  const bun = runtime.name === 'bun' ? runtime.version : (findBun()?.version ?? 'not installed');
  return `${version}\nnode ${process.versions.node}\nbun ${bun}`;
}
