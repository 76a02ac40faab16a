import { Command } from 'commander';
import { duration, integerBetween, rateBetween, runLater, withJsonOption } from '../command-line.ts';

export function drillCommand(): Command {
  const command = new Command('drill').description('rehearse a bad day on a copy of the fleet, never on the fleet');
  withJsonOption(command.command('ca-compromise').description('replace a CA under devices, and see who is lost'))
    .option('--root', 'replace the root, and the issuing CA with it')
    .option('--devices <n>', 'devices of the SDK that go through it', integerBetween(1, 5_000), 20)
    .option('--data <dir>', 'data directory whose registry and CA keys are copied; without it a fleet is made')
    .option('--config <file>', 'settings of that fleet: what its certificates are like, and how fast it renews')
    .option('--within <duration>', 'in which the whole fleet shall renew', duration, 3_600_000)
    .option('--haste <part>', 'devices choose the first part of each window, such as 0.1', rateBetween(0.001, 1), 1)
    .option('--report <file>', 'write the result as JSON')
    .action(runLater(async () => (await import('./drill-run.ts')).caCompromise));
  return command;
}
