/** The package as applications get it: built, packed by npm, unpacked, and run by the oldest Node that it supports. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Device, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deviceNode } from '../test/fixtures/device-node.ts';
import { startFleet, type TestFleet } from '../test/fixtures/fleet.ts';
import { issueServiceDirectory } from '../test/fixtures/service.ts';
import { outputOf } from '../test/fixtures/started-processes.ts';
import { buildPackage } from './build-package.ts';

const repository = fileURLToPath(new URL('..', import.meta.url));

// Inside the repository's own node_modules, where a package manager would put it; mqtt is found there.
const consumer = mkdtempSync(join(repository, 'node_modules', '.consumer-of-service-sdk-'));
const installed = join(consumer, 'node_modules', '@rollcall', 'service-sdk');
let fleet: TestFleet;
let device: Device;

beforeAll(async () => {
  const built = join(consumer, 'dist');
  await buildPackage(built);
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', consumer], { cwd: built });
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', packed.toString().trim(), '-C', installed, '--strip-components=1'], { cwd: consumer });
  fleet = await startFleet();
  const token = await fleet.mint();
  const commands = { ping: () => 'pong' };
  device = await Device.open({ store: memoryIdentityStore(), token, deviceId: 'machine-1', commands });
  await device.connected();
});

afterAll(async () => {
  await device?.close();
  await fleet?.stop();
  rmSync(consumer, { recursive: true, force: true });
});

const SCRIPT = `
const service = await Service.open({ directory: process.argv[2] });
const first = await service.command('machine-1', 'ping');
await service.renew();
const second = await service.command('machine-1', 'ping');
await service.close();
console.log(JSON.stringify([first.text, second.text, service.name]));
`;

describe('the built package', () => {
  it.each([
    ['an ES module', 'service.mjs', `import { Service } from '@rollcall/service-sdk';\n${SCRIPT}`],
    ['CommonJS', 'service.cjs', `const { Service } = require('@rollcall/service-sdk');\n(async () => {${SCRIPT}})();`],
  ])('commands, renews and ends by itself, as %s', async (_, file, script) => {
    writeFileSync(join(consumer, file), script);
    const name = file.replace('.', '-');
    const directory = await issueServiceDirectory(fleet, name);
    const stdout = await outputOf(deviceNode(), [file, directory], { cwd: consumer, env: {} });
    expect(JSON.parse(stdout)).toEqual(['pong', 'pong', name]);
  });

  it('depends on the library mqtt alone', () => {
    const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    expect(dependencies).toEqual({ mqtt: '5.16.0' });
  });

  it('has types for both kinds of consumer', () => {
    const source = `import { Service, ServiceError, type Telemetry } from '@rollcall/service-sdk';
      export async function typed(directory: string): Promise<number> {
        const service = await Service.open({ directory });
        service.onTelemetry((message: Telemetry) => { message.json<{ celsius: number }>().celsius.toFixed(); }, { stream: 'heat' });
        const { state } = (await service.twin('a').reported()) ?? { state: {} };
        return Object.keys(state).length + (await service.command('a', 'b', { c: 1 }, { timeout: 5 })).payload.length;
      }
      export const isOurs = (error: unknown) => error instanceof ServiceError && error.code === 'timeout';\n`;
    for (const extension of ['mts', 'cts']) writeFileSync(join(consumer, `consumer.${extension}`), source);
    const compilerOptions = {
      module: 'nodenext',
      target: 'es2022',
      strict: true,
      noEmit: true,
      types: ['node'],
      skipLibCheck: true,
    };
    writeFileSync(
      join(consumer, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, include: ['consumer.mts', 'consumer.cts'] }),
    );
    const tsc = join(repository, 'node_modules', 'typescript', 'bin', 'tsc');
    expect(execFileSync(process.execPath, [tsc, '-p', '.'], { cwd: consumer }).toString()).toBe('');
  });
});
