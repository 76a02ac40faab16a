import { resolve } from 'node:path';
import { standardError } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import type { Config } from '../../server/config/index.ts';
import type { Direction, MigrationOptions, MigrationReport } from '../../server/migration/index.ts';
import { run, withJsonOption } from '../command-line.ts';
import { dataDirectoryOf } from '../console-address.ts';
import { note, printJson, printResult, table } from '../terminal.ts';

interface MigrateOptions {
  readonly to: string;
  readonly config?: string;
  readonly data?: string;
  readonly store?: string;
  readonly journalsFirst?: boolean;
  readonly dryRun?: boolean;
}

interface Route {
  readonly direction: Direction;
  readonly data: string | undefined;
  readonly store: string | undefined;
}

const EMBEDDED = 'file:';
const PROGRESS_EVERY_MS = 200;

const migrate = run<MigrateOptions>(async ({ options, form }) => {
  const { journalsFirst = false, dryRun = false } = options;
  const { direction, data, store } = routeOf(options);
  if (journalsFirst && direction === 'to the data directory') {
    throw new Problem('usage', { reason: 'expected --to postgres://... with --journals-first' });
  }
  // Loaded here: other commands start faster without the engines of the stores.
  const { pino } = await import('pino');
  const { loadConfig } = await import('../../server/config/load.ts');
  const config = loadConfig({
    file: options.config,
    environment: process.env,
    flags: [
      [['data'], data ?? (options.config === undefined ? dataDirectoryOf({}) : undefined)],
      [['store', 'url'], store],
    ],
  });
  expectSharedStore(config);
  const { countFleet, moveFleet } = await import('../../server/migration/index.ts');
  const progress = new Progress();
  const wanted: MigrationOptions = {
    config,
    isJournalsFirst: journalsFirst,
    now: Date.now,
    log: pino({ level: 'silent' }),
    progress: (step, kind, amount) => progress.update(`${step} ${kind}: ${amount}`),
    waiting: (what) => note(`waiting for ${what}`),
  };
  const report = await (dryRun ? countFleet : moveFleet)(direction, wanted).finally(() => progress.end());
  if (form === 'json') printJson(report);
  else print(report, direction);
});

/** Where the fleet is and where it is to go, as far as the command line says. */
function routeOf({ to, data, store }: MigrateOptions): Route {
  if (/^postgres(ql)?:\/\//.test(to)) {
    if (store !== undefined) throw new Problem('usage', { reason: 'expected --store with --to file: alone' });
    return { direction: 'to the shared store', data, store: to };
  }
  if (!to.startsWith(EMBEDDED) || to.startsWith('file://')) {
    throw new Problem('usage', { reason: 'expected --to postgres://USER@HOST/DATABASE, --to file: or --to file:DIR' });
  }
  const directory = to.slice(EMBEDDED.length);
  if (directory !== '' && data !== undefined) {
    throw new Problem('usage', { reason: 'expected one of --to file:DIR and --data' });
  }
  return { direction: 'to the data directory', data: directory === '' ? data : resolve(directory), store };
}

function expectSharedStore({ store }: Config): void {
  if (store.url !== EMBEDDED) return;
  throw new Problem('usage', {
    reason:
      'expected the store from which the fleet is to move: --store postgres://..., or store.url in the configuration',
  });
}

/** One line on a terminal that changes; nothing elsewhere. */
class Progress {
  #shownAt = 0;
  #isShown = false;

  update(text: string): void {
    const now = performance.now();
    if (process.stderr.isTTY !== true || now - this.#shownAt < PROGRESS_EVERY_MS) return;
    this.#shownAt = now;
    this.#isShown = true;
    standardError.write(`\r\x1b[K${text}`);
  }

  end(): void {
    if (this.#isShown) standardError.write('\r\x1b[K');
    this.#isShown = false;
  }
}

function print({ state, from, to, counts, damaged }: MigrationReport, direction: Direction): void {
  const rows = Object.entries(counts).map(([kind, count]) => [kind, String(count)]);
  if (rows.length > 0) printResult(table(['KIND', 'COUNT'], rows));
  for (const file of damaged) note(`left where it is, because it cannot be read: ${file}`);
  switch (state) {
    case 'counted':
      printResult(`would move from ${from}\n             to ${to}`);
      break;
    case 'journals copied':
      printResult(`the journals of ${from} are copied`);
      note('stop the server, and run the command again without --journals-first: it goes on from there');
      break;
    case 'moved':
      printResult(`moved from ${from}\n        to ${to}; both sides were compared`);
      note(NEXT[direction]);
  }
}

const NEXT: Readonly<Record<Direction, string>> = {
  'to the shared store':
    'start the server with that store and this data directory, which has the keys of the CA; the former stores stay in it',
  'to the data directory':
    'remove store.url from the configuration, and start the server without --store; the former store stays as it is',
};

export function migrateCommand(): Command {
  return withJsonOption(
    new Command('migrate').description(
      'move the fleet to a store that several nodes share, or back; no server runs meanwhile',
    ),
  )
    .requiredOption('--to <url>', 'postgres://user@host/database, or file:DIR for a data directory')
    .option('--config <file>', 'configuration of the server: its section store has files and settings of the database')
    .option('--data <dir>', 'data directory of the fleet (default: ./data)')
    .option('--store <url>', 'with --to file: the store that the fleet is in (default: store.url of the configuration)')
    .option('--journals-first', 'copy telemetry and events while the server runs, so that the pause is short')
    .option('--dry-run', 'print what would be moved, and change nothing')
    .action(migrate);
}
