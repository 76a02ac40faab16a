/** The package as applications get it: built, packed by npm, unpacked, and run by the Nodes that devices have. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect } from 'vitest';
import { deviceNode } from '../test/fixtures/device-node.ts';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { type ScriptedFleet, startScriptedFleet } from '../test/fixtures/scripted-fleet.ts';
import { outputOf } from '../test/fixtures/started-processes.ts';
import { buildPackage } from './build-package.ts';

const { describe, it } = testsWithClients('device-sdk/build-package.test.ts', ['openssl']);

const repository = fileURLToPath(new URL('..', import.meta.url));

// Inside the repository's own node_modules, where a package manager would put it.
const consumer = mkdtempSync(join(repository, 'node_modules', '.consumer-of-device-sdk-'));
const installed = join(consumer, 'node_modules', '@rollcall', 'device-sdk');
let fleet: ScriptedFleet;

beforeAll(async () => {
  const built = join(consumer, 'dist');
  await buildPackage(built);
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', consumer], { cwd: built });
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', packed.toString().trim(), '-C', installed, '--strip-components=1'], { cwd: consumer });
  fleet = await startScriptedFleet();
});

afterAll(async () => {
  await fleet?.stop();
  rmSync(consumer, { recursive: true, force: true });
});

/** Runs a script that gets the token on its standard input; resolves with what it printed when it ended by itself. */
async function runOnDevice(name: string, script: string): Promise<unknown> {
  writeFileSync(join(consumer, name), script);
  const input = JSON.stringify({ token: fleet.est.token(), dataDir: join(consumer, `${name}.identity`) });
  return JSON.parse(await outputOf(deviceNode(), [name], { cwd: consumer, env: {}, input }));
}

const SCRIPT = `
const device = await Device.open({ ...JSON.parse(readFileSync(0, 'utf8')), commands: { ping: () => 'pong' } });
await device.connected();
await device.publish('temperature', { value: 21.5 });
await device.renew();
await device.publish('temperature', { value: 22 });
await device.drained();
await device.close();
console.log(JSON.stringify({ id: device.id, state: device.state, node: process.versions.node }));
`;

describe('the built package', () => {
  it('enrolls, publishes, renews and ends by itself, as an ES module', async () => {
    const head = "import { readFileSync } from 'node:fs';\nimport { Device } from '@rollcall/device-sdk';\n";
    expect(await runOnDevice('device.mjs', head + SCRIPT)).toMatchObject({ id: 'device-1', state: 'closed' });
    expect(fleet.broker.messages.map(({ payload }) => payload)).toEqual(['{"value":21.5}', '{"value":22}']);
  });

  it('does the same as CommonJS', async () => {
    const head = "const { readFileSync } = require('node:fs');\nconst { Device } = require('@rollcall/device-sdk');\n";
    const script = `${head}(async () => {${SCRIPT}})();`;
    const said = fleet.broker.messages.length;
    expect(await runOnDevice('device.cjs', script)).toMatchObject({ state: 'closed' });
    expect(fleet.broker.messages.slice(said)).toHaveLength(2);
  });

  it('has types for both kinds of consumer, with nothing of the repository around them', () => {
    const source = `import { Device, DeviceError, type DeviceOptions, type DeviceSchema } from '@rollcall/device-sdk';
      interface Valve extends DeviceSchema {
        streams: { pressure: { bar: number } };
        commands: { open: { request: { percent: number }; response: { position: number } } };
        twin: { desired: { interval: number }; reported: { interval: number } };
      }
      export async function typed(options: DeviceOptions): Promise<number> {
        const valve = await Device.open<Valve>(options);
        await valve.publish('pressure', { bar: 1 });
        // @ts-expect-error a pressure is a number
        await valve.publish('pressure', { bar: 'high' });
        // @ts-expect-error there is no such stream
        await valve.publish('presure', { bar: 1 });
        valve.onCommand('open', (command) => ({ position: command.json().percent }));
        // @ts-expect-error an answer has a position
        valve.onCommand('open', () => ({ percent: 1 }));
        // @ts-expect-error an interval is a number
        await valve.twin.report({ interval: 'often' });
        return valve.twin.desired.state.interval;
      }
      export async function run(options: DeviceOptions): Promise<string> {
        const device = await Device.open(options);
        device.onCommand('reboot', ({ requestId }) => ({ requestId }));
        const { key, acknowledged } = await device.publish('temperature', { value: 1 }, { qos: 0 });
        await acknowledged;
        const name: string = key;
        // @ts-expect-error a stream has a name
        await device.publish(1, 'x');
        const code: string | undefined = device.lastError instanceof DeviceError ? device.lastError.code : undefined;
        return code ?? name;
      }`;
    writeFileSync(join(consumer, 'typed.mts'), source);
    writeFileSync(join(consumer, 'typed.cts'), source);
    writeFileSync(
      join(consumer, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          module: 'nodenext',
          target: 'es2022',
          strict: true,
          exactOptionalPropertyTypes: true,
          noEmit: true,
          types: ['node'],
          typeRoots: [join(repository, 'node_modules', '@types')],
        },
        files: ['typed.mts', 'typed.cts'],
      }),
    );
    const checked = (): string =>
      execFileSync(process.execPath, [join(repository, 'bin', 'pinned.js'), 'tsc', '-p', consumer], {
        encoding: 'utf8',
        stdio: 'pipe',
      });
    expect(checked()).toBe('');
  });

  it('imports nothing but Node, neither at run time nor in its declarations', () => {
    for (const file of ['index.js', 'index.d.ts', 'index.d.cts']) {
      const text = readFileSync(join(installed, file), 'utf8');
      const imports = new Set([...text.matchAll(/^import .*? from ["']([^"']+)["']/gm)].map((found) => found[1]));
      expect([...imports].filter((name) => !name?.startsWith('node:'))).toEqual([]);
    }
  });

  it('has a manifest of its own: name and version of the workspace, files that are there, no dependencies', () => {
    const read = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
    const workspace = read(join(repository, 'device-sdk', 'package.json'));
    const manifest = read(join(installed, 'package.json'));
    const { name, version, license, engines } = workspace;
    expect(manifest).toMatchObject({ name, version, license, engines });
    for (const absent of ['private', 'dependencies', 'devDependencies', 'scripts']) {
      expect(manifest).not.toHaveProperty(absent);
    }
    const named = JSON.stringify(manifest).match(/\.\/[\w.-]+/g) ?? [];
    const files = readdirSync(installed, { recursive: true, encoding: 'utf8' });
    expect(files).toEqual(expect.arrayContaining(named.map((path) => path.slice(2))));
    expect(files.sort()).toEqual([
      ...[
        'LICENSE',
        'README.md',
        'index.cjs',
        'index.cjs.map',
        'index.d.cts',
        'index.d.ts',
        'index.js',
        'index.js.map',
      ],
      ...['package.json', 'rollcall-device.cjs'],
    ]);
  });

  it('brings the agent', () => {
    const said = execFileSync(deviceNode(), [join(installed, 'rollcall-device.cjs'), '--version'], {
      encoding: 'utf8',
    });
    expect(said).toContain(JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')).version);
  });
});
