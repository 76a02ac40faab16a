import { Command } from 'commander';
import { runLater, withJsonOption } from '../command-line.ts';

export function backupCommand(): Command {
  return withJsonOption(
    new Command('backup').description('write the data directory into one file; the server may run meanwhile'),
  )
    .argument('<file>', 'file to write; it must not exist')
    .option('--data <dir>', 'data directory (default: ./data)')
    .option('--config <file>', 'configuration of the server, for a CA key under a passphrase or in a PKCS#11 token')
    .option('--passphrase-file <file>', 'include the private keys, encrypted with the passphrase in this file')
    .option(
      '--signing-key <file>',
      "sign a backup without keys with this key (EC on P-256) in place of the issuing CA's",
    )
    .action(runLater(async () => (await import('./backup-run.ts')).backup));
}
