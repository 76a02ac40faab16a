/** Runs the command of a command line, and explains one that cannot be parsed. */

import { standardOutput } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import { type Command, CommanderError } from 'commander';
import { buildProgram } from './program.ts';
import { explainFailure } from './terminal.ts';

// By default SIGUSR1 opens Node's inspector and SIGUSR2 ends the process. This program ignores both.
for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});

const program = await buildProgram(process.argv[2]);
throwErrors(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
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
