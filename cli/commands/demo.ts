import { Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import { integerBetween, rateBetween, run } from '../command-line.ts';
import { untilStopped } from '../stop-signals.ts';
import { EXIT } from '../terminal.ts';

interface DemoOptions {
  readonly seconds?: number;
  readonly nodes?: number;
  readonly workers?: number;
  readonly directory?: string;
}

const demo = run<DemoOptions>(async ({ options }) => {
  const { seconds, nodes = 1, workers = 1, directory } = options;
  if (nodes > 1 && workers > 1) throw new Problem('usage', { reason: 'expected --nodes or --workers, not both' });
  if (nodes === 1 && directory !== undefined)
    throw new Problem('usage', { reason: 'expected --directory with --nodes' });
  // Loaded only here: the other commands start faster without the servers.
  const isWhole = await untilStopped(async (stopped) => {
    if (nodes === 1) return (await import('../demo/single-server-demo.ts')).runDemo({ seconds, workers }, stopped);
    const { runSeveralNodesDemo } = await import('../demo/several-nodes-demo.ts');
    return runSeveralNodesDemo({ nodes, seconds, directory }, stopped);
  });
  if (!isWhole) process.exitCode = EXIT.failed;
});

export function demoCommand(): Command {
  return new Command('demo')
    .description('start everything in a temporary directory, watch a small fleet live, lose a device')
    .option('--seconds <n>', 'end after so many seconds; without it, at Ctrl-C', rateBetween(1, 1_000_000))
    .option('--nodes <n>', 'so many servers over a PostgreSQL quorum of this machine, up to 9', integerBetween(1, 9))
    .option('--workers <n>', 'threads of the one server that serve MQTT', integerBetween(1, 64))
    .option('--directory <dir>', 'with --nodes: a new directory for all files, removed at the end as well')
    .action(demo);
}
