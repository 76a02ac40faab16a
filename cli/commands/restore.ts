import { Command } from 'commander';
import { runLater, withJsonOption } from '../command-line.ts';

export function restoreCommand(): Command {
  return withJsonOption(new Command('restore').description('make a data directory from a backup'))
    .argument('<file>', 'backup file')
    .requiredOption('--data <dir>', 'directory to make; it must be empty or not exist')
    .option(
      '--passphrase-file <file>',
      'file with the passphrase of the private keys; it also authenticates the backup',
    )
    .option('--ca <dir>', "copy of the fleet's ca directory, for a backup without keys; its roots are trusted")
    .option('--root <file>', 'trusted root certificate: accept the signature of an issuing CA below it')
    .option('--signed-by <file>', 'public key or certificate that belongs to the --signing-key of the backup')
    .option('--accept-unauthenticated', 'restore a backup that cannot be authenticated, such as one of format 1')
    .action(runLater(async () => (await import('./restore-run.ts')).restoreBackup));
}
