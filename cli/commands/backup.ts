import { Command } from 'commander';
import { backUp } from '../../backup/backup.ts';
import { run, speaksJson } from '../command-line.ts';
import { passphraseIn } from '../passphrase-file.ts';
import { note, printJson, printResult } from '../terminal.ts';
import { version } from '../version.ts';

interface BackupOptions {
  readonly data?: string;
  readonly passphraseFile?: string;
}

const backup = run<BackupOptions>(async ({ args, options, form }) => {
  const [file = ''] = args;
  const passphrase = options.passphraseFile === undefined ? undefined : passphraseIn(options.passphraseFile);
  const data = options.data ?? process.env.ROLLCALL_DATA ?? './data';
  const { takenAt, files } = backUp({
    data,
    file,
    version,
    now: Date.now,
    ...(passphrase !== undefined && { passphrase }),
  });
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const keys = passphrase === undefined ? 'none' : 'sealed';
  if (form === 'json') return printJson({ file, takenAt, files: files.length, bytes, keys });
  printResult(`${file}: ${files.length} files, ${bytes} bytes, of ${takenAt}`);
  if (keys === 'none') note('it holds no private key; keep a copy of the ca directory, or give --passphrase-file');
});

export function backupCommand(): Command {
  return speaksJson(
    new Command('backup').description('write the whole fleet into one file, while the server runs or not'),
  )
    .argument('<file>', 'the file; it must not exist')
    .option('--data <dir>', 'data directory (default: ./data)')
    .option('--passphrase-file <file>', 'seal the private keys with the passphrase in this file, and include them')
    .action(backup);
}
