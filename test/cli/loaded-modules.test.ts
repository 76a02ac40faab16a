/** What a command loads before it does anything: most of its start. A server and its databases are loaded by the commands that need them. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { rollcall } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const RECORDER = fileURLToPath(new URL('../fixtures/loaded-modules.ts', import.meta.url));

/** Folders of this repository and packages. */
async function loadedBy(...args: readonly string[]): Promise<readonly string[]> {
  const file = join(temporaryDirectory(), 'loaded');
  await rollcall(args, { environment: { NODE_OPTIONS: `--import=${RECORDER}`, LOADED_MODULES: file } });
  return readFileSync(file, 'utf8').split('\n');
}

const CLI = ['bin', 'cli', 'commander', 'output', 'protocol', 'server', 'test'];
/** Words of commands, such as the reasons of a revocation. */
const WORDS = ['registry'];
/** The shapes of all requests and answers. */
const CLIENT = ['console', 'zod'];

it.each([
  ['the version', ['--version'], CLI],
  ['a command that asks a server', ['token', 'list', '--socket', 'none.sock'], [...CLI, ...WORDS, ...CLIENT]],
  ['a command that finds no server', ['token', 'list', '--data', 'none'], [...CLI, ...WORDS]],
  ['help of a command', ['serve', '--help'], CLI],
])('%s loads nothing that it does not need', async (_, args, expected) => {
  expect((await loadedBy(...args)).filter((part) => !expected.includes(part))).toEqual([]);
});

it('help of all commands loads neither a server nor a database', async () => {
  const loaded = await loadedBy('--help');
  const ofServers = ['aedes', 'better-sqlite3', 'broker', 'enroll', 'fastify', 'pg', 'pino', 'storage', 'telemetry'];
  expect(loaded.filter((part) => ofServers.includes(part))).toEqual([]);
});
