import { Command } from 'commander';
import { restore } from '../../backup/restore.ts';
import { run, speaksJson } from '../command-line.ts';
import { passphraseIn } from '../passphrase-file.ts';
import { note, printJson, printResult } from '../terminal.ts';

interface RestoreOptions {
  readonly data: string;
  readonly passphraseFile?: string;
  readonly ca?: string;
}

const restoring = run<RestoreOptions>(async ({ args, options, form }) => {
  const [file = ''] = args;
  const { data, passphraseFile, ca } = options;
  const { takenAt, files } = restore({
    file,
    data,
    now: Date.now,
    ...(passphraseFile !== undefined && { passphrase: passphraseIn(passphraseFile) }),
    ...(ca !== undefined && { authority: ca }),
  });
  if (form === 'json') return printJson({ data, takenAt, files: files.length });
  printResult(`${data}: the fleet as of ${takenAt}`);
  note('what was revoked, suspended or changed since then is not in it: do it again before you start');
});

export function restoreCommand(): Command {
  return speaksJson(new Command('restore').description('make a data directory of a backup'))
    .argument('<file>', 'the backup')
    .requiredOption('--data <dir>', 'the directory; it must be empty, or not exist')
    .option('--passphrase-file <file>', 'holds the passphrase that sealed the private keys')
    .option('--ca <dir>', "a copy of the fleet's ca directory, for a backup without keys")
    .action(restoring);
}
