/** The package as an operator gets it: built, installed by npm into an empty directory without a registry, and used from there. */

import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { outputOf, startProcess } from '../../test/fixtures/started-processes.ts';
import { buildPackage, REPOSITORY } from './build-package.ts';
import { runtimePackages } from './runtime-packages.ts';

const directory = mkdtempSync(join(tmpdir(), 'rollcall-package-test-'));
const program = join(directory, 'node_modules/.bin/rollcall');
const installed = join(directory, 'node_modules/rollcall');
const environment = {
  PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
  HOME: directory,
  npm_config_cache: join(directory, 'cache'),
};
const run = (file: string, args: readonly string[]) => outputOf(file, args, { cwd: directory, env: environment });

beforeAll(async () => {
  const tarball = await buildPackage(directory);
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', tarball]);
}, 300_000);

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Paths relative to the installed package. */
function filesIn(folder: string): readonly string[] {
  return readdirSync(join(installed, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(installed.length + 1));
}

it('a server from the package enrolls a device and makes an image with the agent', async () => {
  const ports = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0'];
  const threads = ['--workers', '2']; // Their program is a file of the package.
  const options = { cwd: directory, env: environment, endsBy: 'SIGTERM' } as const;
  const server = startProcess(program, ['serve', '--json', ...ports, ...threads], options);
  server.stderr.resume();
  const [ready] = (await once(createInterface({ input: server.stdout }), 'line')) as [string];
  expect(JSON.parse(ready)).toMatchObject({ event: 'ready', socket: join(directory, 'data/console.sock') });
  const token = await run(program, ['token', 'create']);
  await run(program, ['device', 'enroll', '--token', token.trim(), '--id', 'press-1', '--out', 'press-1']);
  expect(await run(program, ['device', 'list', '--json'])).toContain('press-1');
  const { consoleUrl, trustBundle } = JSON.parse(ready) as {
    readonly consoleUrl: string;
    readonly trustBundle: string;
  };
  const page = await run('curl', ['--silent', '--cacert', trustBundle, `${consoleUrl}/devices`]);
  expect(page).toMatch(/<script type="module" [^>]*src="\/assets\/[^"]+\.js"/);
  // Makes a query, which a worker thread answers.
  await run(program, ['telemetry', 'query', '--device', 'press-1']);
  await run(program, ['image', 'make', '--uses', '1', '--out', 'image', '--allow-loopback']);
  expect(await run(program, ['image', 'verify', 'image', '--allow-loopback'])).toBe('the image is valid\n');
  expect(await run(join(directory, 'image/rollcall-device.cjs'), ['--help'])).toContain('rollcall-device');
});

it('every file that the program names by a relative path is in the package', () => {
  const code = filesIn('').filter(
    (path) => /\.js$|^bin\/rollcall$/.test(path) && !/node_modules\/(?!@rollcall\/)/.test(path),
  );
  expect(code.length).toBeGreaterThan(300);
  const missing = code.flatMap((path) =>
    [...readFileSync(join(installed, path), 'utf8').matchAll(/(?:from |import |import\(|new URL\()'(\.[^']+)'/g)]
      .map((match) => resolve(dirname(join(installed, path)), match[1] as string))
      .filter((named) => !existsSync(named))
      .map((named) => `${path}: ${named}`),
  );
  expect(missing).toEqual([]);
});

it('the package holds what runs and nothing else: no tests, no sources, no Node', () => {
  const files = filesIn('');
  const unwanted = files.filter((path) =>
    /\.test\.|\.ts$|\/bin\/node$|^test\/|node_modules\/(typescript|vitest|esbuild)\//.test(path),
  );
  expect(unwanted).toEqual([]);
  const bytes = files.reduce((sum, path) => sum + statSync(join(installed, path)).size, 0);
  expect(bytes).toBeLessThan(60_000_000);
});

it('the package holds the run-time packages alone, in the versions of the lock file', () => {
  const { packages } = JSON.parse(readFileSync(join(REPOSITORY, 'package-lock.json'), 'utf8'));
  const wanted = runtimePackages(REPOSITORY);
  expect(wanted.filter((path) => packages[path].dev === true)).toEqual([]);
  const versionOf = (path: string) => JSON.parse(readFileSync(join(installed, path, 'package.json'), 'utf8')).version;
  expect(Object.fromEntries(wanted.map((path) => [path, versionOf(path)]))).toEqual(
    Object.fromEntries(wanted.map((path) => [path, packages[path].version])),
  );
});
