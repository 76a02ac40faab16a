import { Command } from 'commander';
import { rateBetween, run } from '../command-line.ts';
import { untilStopped } from '../stop-signals.ts';
import { EXIT } from '../terminal.ts';

const demo = run<{ readonly seconds?: number }>(async ({ options }) => {
  // Loaded only here: the other commands start faster without the servers.
  const { runDemo } = await import('../demo.ts');
  const isWhole = await untilStopped((stopped) => runDemo(options.seconds, stopped));
  if (!isWhole) process.exitCode = EXIT.failed;
});

export function demoCommand(): Command {
  return new Command('demo')
    .description('start everything in a temporary directory, watch a small fleet live, lose a device')
    .option('--seconds <n>', 'end after so many seconds; without it, at Ctrl-C', rateBetween(1, 1_000_000))
    .action(demo);
}
