/** Manual pages in roff (man(7)), one for the program and one per command, from the definitions of the commands. */

import type { Command } from 'commander';
import { type CommandWords, commandWords } from '../completion/command-words.ts';

export interface ManPage {
  /** `rollcall-token.1` */
  readonly file: string;
  readonly text: string;
}

/** `releasedAt`: date of the version, in milliseconds since the epoch, so that the same version has the same pages. */
export function manPages(
  program: Command,
  { version, releasedAt }: { readonly version: string; readonly releasedAt: number },
): readonly ManPage[] {
  const date = new Date(releasedAt).toISOString().slice(0, 10);
  const all = commandWords(program);
  const [root, ...others] = all;
  if (root === undefined) return [];
  const top = others.filter(({ path }) => path.length === 1);
  const page = (
    name: string,
    description: string,
    sections: readonly string[],
    seeAlso: readonly string[],
  ): ManPage => ({
    file: `${name}.1`,
    text: `${[
      `.TH ${name.toUpperCase()} 1 "${date}" "Rollcall ${version}" "Rollcall"`,
      ...['.SH NAME', `${escaped(name)} \\- ${escaped(description)}`],
      ...sections,
      ...['.SH SEE ALSO', seeAlso.map((each) => `.BR ${escaped(each)} (1)`).join(',\n')],
    ].join('\n')}\n`,
  });
  const overview = page(
    'rollcall',
    root.description,
    [
      ...['.SH SYNOPSIS', '.B rollcall', '.I command', '[\\fIoptions\\fR]'],
      ...['.SH COMMANDS', ...root.commands.flatMap(({ name, description }) => tagged(`rollcall ${name}`, description))],
      ...['.SH OPTIONS', ...options(root)],
      ...['.SH EXIT STATUS', ...EXIT_STATUS.flatMap(([code, text]) => tagged(code, text))],
    ],
    top.map(({ path }) => `rollcall-${path[0]}`),
  );
  const pages = top.map((command) => {
    const below = others.filter(({ path }) => path[0] === command.path[0]);
    return page(
      `rollcall-${command.path[0]}`,
      command.description,
      [
        '.SH SYNOPSIS',
        ...below
          .filter(isCallable)
          .flatMap((each, index) => [...(index === 0 ? [] : ['.br']), synopsis(program, each)]),
        ...['.SH DESCRIPTION', `${escaped(command.description)}.`],
        ...below.filter(isCallable).flatMap((each) => section(program, each)),
      ],
      ['rollcall'],
    );
  });
  return [overview, ...pages];
}

const EXIT_STATUS = [
  ['0', 'Done.'],
  ['1', 'Failed, or a question was answered with no.'],
  ['2', 'The command line or the configuration is invalid.'],
  ['3', 'The server refused, or a check found something wrong.'],
  ['4', 'No server can be reached.'],
] as const;

/** A command with others below it only groups them, unless it has options of its own beside --help. */
function isCallable({ commands, options: own }: CommandWords): boolean {
  return commands.length === 0 || own.length > 1;
}

function section(program: Command, words: CommandWords): readonly string[] {
  return [
    `.SS ${escaped(`rollcall ${words.path.join(' ')}`)}`,
    `${escaped(words.description)}.`,
    ...options(words, find(program, words)),
  ];
}

function synopsis(program: Command, words: CommandWords): string {
  const found = find(program, words);
  const args = found.registeredArguments.map((each) => {
    const name = `\\fI${escaped(each.name())}\\fR${each.variadic ? ' ...' : ''}`;
    return each.required ? name : `[${name}]`;
  });
  return [`\\fBrollcall ${escaped(words.path.join(' '))}\\fR`, ...args, '[\\fIoptions\\fR]'].join(' ');
}

function options(words: CommandWords, command?: Command): readonly string[] {
  const help = command?.createHelp();
  return words.options.flatMap(({ flag, description }) => {
    const option = command?.options.find(({ long }) => long === flag);
    const text = option === undefined || help === undefined ? description : help.optionDescription(option);
    return tagged(option?.flags ?? flag, text);
  });
}

function find(program: Command, { path }: CommandWords): Command {
  return path.reduce((at, name) => at.commands.find((child) => child.name() === name) ?? at, program);
}

function tagged(tag: string, text: string): readonly string[] {
  return ['.TP', `\\fB${escaped(tag)}\\fR`, escaped(text)];
}

/** A line of text for roff: hyphens as they are typed, and no request at its begin. */
function escaped(text: string): string {
  const line = text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('\n', ' ');
  return /^[.']/.test(line) ? `\\&${line}` : line;
}
