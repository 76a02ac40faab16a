/**
 * The bench: Rollcall beside its peers, in one run, as CPU per operation and as ratio. `docs/bench.md` says how to read
 * it. Not a test: nothing fails because a figure is bad.
 */

import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openConsoleClient } from '../../console/client.ts';
import { prepareAuthority } from './authority.ts';
import type { Bench } from './bench.ts';
import { BenchResources } from './children.ts';
import { LoadGenerator } from './load-generator.ts';
import { describeMachine } from './machine.ts';
import { type BenchOptions, ROWS, readOptions, USAGE } from './options.ts';
import { markdown, type Report } from './report.ts';
import type { Result } from './results.ts';
import { devicesFor, enrollDevices, ROW } from './rows.ts';
import { prepareServers } from './servers.ts';

const TOKEN_USES = 1_000_000;
const TOKEN_TTL_SECONDS = 3600;

async function bench(options: BenchOptions, borrowed: BenchResources): Promise<Report> {
  const { sizes, rows } = options;
  const profiles = options.profiles === undefined ? undefined : resolve(options.profiles);
  if (profiles !== undefined) mkdirSync(profiles, { recursive: true });
  const data = join(borrowed.directory, 'data');
  const peers = await prepareAuthority(data, join(borrowed.directory, 'peers'));
  const servers = prepareServers(borrowed, { data, peers, profiles });
  const machine = describeMachine(servers);
  const context: Bench = {
    sizes,
    servers,
    load: new LoadGenerator(borrowed),
    newLoad: () => new LoadGenerator(borrowed),
    mint: async (socketPath) => {
      const operator = openConsoleClient({ socketPath });
      const { text } = await operator.createToken({ uses: TOKEN_USES, ttlSeconds: TOKEN_TTL_SECONDS });
      await operator.close();
      return text;
    },
  };
  const wanted = ROWS.filter((row) => rows.has(row));
  const devices = Math.max(...wanted.map((row) => devicesFor(row, sizes)));
  if (devices > 0) {
    say(`enrolling ${devices} devices`);
    await enrollDevices(context, devices);
  }
  const results: Result[] = [];
  for (const row of wanted) {
    say(`measuring ${row}`);
    results.push(...(await ROW[row](context)));
  }
  return { machine, results, missing: servers.missing };
}

function say(what: string): void {
  process.stderr.write(`bench: ${what}\n`);
}

const options = readOptions(process.argv.slice(2));
if (typeof options === 'string') {
  process.stderr.write(`bench: error: ${options}\n${USAGE}`);
  process.exit(2);
}
if (process.platform !== 'linux') {
  process.stderr.write('bench: error: expected Linux: what a server uses is read from /proc\n');
  process.exit(2);
}

const borrowed = new BenchResources();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // Not once: a second signal, sent to the whole group, must not end the cleaning up.
  process.on(signal, () => {
    borrowed.giveBackNow();
    process.exit(130);
  });
}
try {
  const report = await bench(options, borrowed);
  process.stdout.write(options.output === 'json' ? `${JSON.stringify(report, null, 2)}\n` : markdown(report));
} catch (error) {
  process.stderr.write(`bench: error: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await borrowed.giveBack();
}
