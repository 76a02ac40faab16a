/** What can be typed after each command, read from the definitions of the commands: for scripts of shells and manual pages. */

import type { Command, Option } from 'commander';

export interface CommandWords {
  /** The words from the program to the command: `['token', 'create']`; empty for the program. */
  readonly path: readonly string[];
  readonly description: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly OptionWords[];
  /** Values of the arguments, where they are a closed list. */
  readonly argumentChoices: readonly string[];
}

export interface OptionWords {
  /** `--ttl` */
  readonly flag: string;
  readonly description: string;
  readonly takesValue: boolean;
  /** Its values, where they are a closed list. */
  readonly choices: readonly string[];
}

/** The program first; hidden commands and options are left out. */
export function commandWords(command: Command, path: readonly string[] = []): readonly CommandWords[] {
  const help = command.createHelp();
  const commands = help.visibleCommands(command).filter((child) => child.name() !== 'help');
  const own: CommandWords = {
    path,
    description: command.description(),
    commands: commands.map((child) => ({ name: child.name(), description: child.description() })),
    options: help.visibleOptions(command).map(optionWords),
    argumentChoices: command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
  };
  return [own, ...commands.flatMap((child) => commandWords(child, [...path, child.name()]))];
}

function optionWords({ long, short, description, required, optional, argChoices = [] }: Option): OptionWords {
  return { flag: long ?? short ?? '', description, takesValue: required || optional, choices: argChoices };
}
