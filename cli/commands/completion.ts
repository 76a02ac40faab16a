import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { standardOutput } from '@rollcall/output';
import { Command } from 'commander';
import { RELEASED_AT, version } from '../../server/config/index.ts';
import { run } from '../command-line.ts';
import { commandWords } from '../completion/command-words.ts';
import { completionScript, SHELLS, type Shell } from '../completion/shell-scripts.ts';
import { manPages } from '../manual/man-page.ts';
import { printResult } from '../terminal.ts';

/** The program with all its commands. */
type WholeProgram = () => Promise<Command>;

const printScript = (program: WholeProgram) =>
  run(async ({ args }) => {
    standardOutput.write(completionScript(args[0] as Shell, commandWords(await program())));
  });

const writePages = (program: WholeProgram) =>
  run<{ readonly out: string }>(async ({ options }) => {
    const pages = manPages(await program(), { version, releasedAt: RELEASED_AT });
    mkdirSync(options.out, { recursive: true });
    for (const { file, text } of pages) writeFileSync(join(options.out, file), text);
    printResult(`${pages.length} pages written to ${options.out}`);
  });

export function completionCommand(program: WholeProgram): Command {
  return new Command('completion')
    .description('print the completion script of a shell')
    .addArgument(new Command().createArgument('<shell>', SHELLS.join(', ')).choices(SHELLS))
    .action(printScript(program));
}

/** For packages, which install the pages. */
export function manCommand(program: WholeProgram): Command {
  return new Command('man')
    .description('write the manual pages of all commands into a directory')
    .requiredOption('--out <dir>', 'directory; pages in it are overwritten')
    .action(writePages(program));
}
