/** `rollcall simulate cleanup`: removes the devices that runs left in the registry, by their label, with proof. */

import { Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { runWithServer, withServerOptions } from '../command-line.ts';
import { everyPage } from '../every-page.ts';
import { SIMULATED_LABEL } from '../simulation-operator.ts';
import { note, type OutputForm, printJson, printTable } from '../terminal.ts';
import { type ConfirmOptions, confirmOf, printProof, printSelection, withConfirmOptions } from './device-operations.ts';

interface CleanupOptions extends ConfirmOptions {
  readonly run?: string;
}

const cleanup = runWithServer<CleanupOptions>(async (server, { options, form }) => {
  const { run, dryRun, confirm, yes } = options;
  if (run !== undefined) return cleanUpRun(server, run, options, form);
  if (confirm !== undefined) throw new Problem('usage', { reason: 'expected --run NAME with --confirm' });
  const runs = await simulatedRuns(server);
  if (dryRun === true || yes !== true || runs.length === 0) return printRuns(runs, form);
  for (const { run: name } of runs) await cleanUpRun(server, name, { yes: true }, form);
});

async function cleanUpRun(
  server: ConsoleClient,
  run: string,
  options: ConfirmOptions,
  form: OutputForm,
): Promise<void> {
  const selector = { labels: { [SIMULATED_LABEL]: run } };
  const selected = await server.selectDevices({ act: 'delete', ...selector });
  if (selected.count === 0) {
    if (form === 'json') printJson({ run, devices: [] });
    else note(`there is no device of run ${run}`);
    return;
  }
  if (options.dryRun === true) return printSelection(selected, form);
  printProof(await server.deleteDevices({ ...selector, ...confirmOf(options) }), form);
}

interface SimulatedRun {
  readonly run: string;
  readonly devices: number;
}

async function simulatedRuns(server: ConsoleClient): Promise<readonly SimulatedRun[]> {
  type Listed = Awaited<ReturnType<ConsoleClient['listDevices']>>[number];
  const devices = await everyPage<Listed>((end) =>
    server.listDevices({ limit: 1_000, ...(end !== undefined && { after: end.id as NonNullable<typeof end.id> }) }),
  );
  const counts = new Map<string, number>();
  for (const { labels } of devices) {
    const run = labels[SIMULATED_LABEL];
    if (run !== undefined) counts.set(run, (counts.get(run) ?? 0) + 1);
  }
  return [...counts].map(([run, count]) => ({ run, devices: count }));
}

function printRuns(runs: readonly SimulatedRun[], form: OutputForm): void {
  if (form === 'json') {
    printJson(runs);
    return;
  }
  printTable(
    ['RUN', 'DEVICES'],
    runs.map(({ run, devices }) => [run, String(devices)]),
    { nothing: 'there is no simulated device' },
  );
  if (runs.length > 0) note('nothing was done; to remove the devices of one run: --run NAME, of all runs: --yes');
}

export function cleanupCommand(): Command {
  const command = withServerOptions(
    new Command('cleanup').description('revoke and delete the devices of simulations, by their label, with proof'),
  ).option('--run <name>', 'of this run only; without it, the runs are listed, and --yes removes the devices of all');
  return withConfirmOptions(command).action(cleanup);
}
