/** `rollcall serve` on Node and on Bun: the same process, signals, lock and exit codes. */

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findBun } from '../../cli/bun.ts';
import { deviceNode } from '../fixtures/device-node.ts';
import { childOf, isGone } from '../fixtures/processes.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

async function health(server: RunningServer): Promise<{ readonly runtime: string }> {
  const sent = request({ socketPath: server.ready.socket, path: '/v1/health' });
  const body = await new Promise<string>((resolve, reject) => {
    sent.once('response', (response) => resolve(text(response)));
    sent.once('error', reject);
    sent.end();
  });
  return JSON.parse(body);
}

describe('rollcall serve without --runtime', () => {
  it('runs on Node', async () => {
    const server = await serve(temporaryDirectory(), [], { environment: { ROLLCALL_RUNTIME: '' } });
    expect((await health(server)).runtime).toMatch(/^node \d+\.\d+\.\d+$/);
    expect((await server.end('SIGTERM')).code).toBe(0);
  });
});

describe('rollcall serve --runtime', () => {
  it('refuses an unknown runtime as a usage error', async () => {
    const { code, stderr } = await rollcall(['serve', '--runtime', 'deno']);
    expect([code, stderr]).toEqual([2, expect.stringContaining("'deno' is invalid. Allowed choices are node, bun.")]);
  });

  it('reports that Bun is not installed', async () => {
    // There is no package of Bun for this architecture.
    const otherArchitecture = `Object.defineProperty(process, 'arch', { value: 'riscv64' });`;
    const environment = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(otherArchitecture)}` };
    const data = join(temporaryDirectory(), 'data');
    const { code, stderr } = await rollcall(['serve', '--runtime', 'bun', '--data', data], { environment });
    expect(stderr).toContain('rollcall: error: the configuration is not valid: runtime: bun is not installed');
    expect(stderr).toContain('rollcall: hint: run "npm ci"');
    expect([code, existsSync(data)]).toEqual([2, false]);
  });
});

it.each([
  ['ROLLCALL_CERTIFICATES_KEYS_HOME', 'pkcs11', 'certificates.keys.home: pkcs11'],
  ['ROLLCALL_MQTT_WEB_SOCKET_LISTEN', 'true', 'mqtt.webSocket.listen'],
])('rollcall serve on Bun refuses %s=%s', async (name, value, option) => {
  const environment = { [name]: value, ROLLCALL_RUNTIME: 'bun' };
  const { code, stderr } = await rollcall(['serve', '--data', join(temporaryDirectory(), 'data')], { environment });
  expect([code, stderr]).toEqual([2, expect.stringContaining(`${option} is not supported on Bun`)]);
});

describe.skipIf(findBun() === undefined)('rollcall serve on Bun', () => {
  const version = `bun ${findBun()?.version}`;

  it('is chosen by flag, variable or configuration file, and reports its version', async () => {
    const directory = temporaryDirectory();
    const config = join(directory, 'rollcall.yaml');
    writeFileSync(config, 'runtime: bun\n');
    const ways = [
      { args: ['--runtime', 'bun'], environment: {} },
      { args: [], environment: { ROLLCALL_RUNTIME: 'bun' } },
      { args: ['--config', config], environment: {} },
    ];
    for (const { args, environment } of ways) {
      const server = await serve(join(directory, 'data'), args, { environment });
      expect((await health(server)).runtime).toBe(version);
      const { code } = await server.end('SIGTERM');
      expect([code, existsSync(server.ready.socket)]).toEqual([0, false]);
      expect(server.log()).toContain(`"runtime":"${version}"`);
    }
    expect((await rollcall(['--version'])).stdout.split('\n')).toContain(version);
  });

  it('gives a flag precedence over the configuration', async () => {
    const server = await serve(temporaryDirectory(), ['--runtime', 'node'], {
      environment: { ROLLCALL_RUNTIME: 'bun' },
    });
    expect((await health(server)).runtime).toMatch(/^node /);
    expect((await server.end('SIGTERM')).code).toBe(0);
  });

  it('reads neither .env nor bunfig.toml of the working directory', async () => {
    const directory = temporaryDirectory();
    const data = join(directory, 'data');
    const marker = join(directory, 'loaded');
    writeFileSync(join(directory, '.env'), 'ROLLCALL_LOG_LEVEL=silent\n');
    writeFileSync(join(directory, 'bunfig.toml'), 'preload = ["./preload.js"]\n');
    writeFileSync(join(directory, 'preload.js'), `require('node:fs').writeFileSync(${JSON.stringify(marker)}, '');`);
    const server = await serve(data, ['--runtime', 'bun'], { cwd: directory });
    expect([server.log(), existsSync(marker)]).toEqual([expect.stringContaining(version), false]);
    expect((await server.end('SIGTERM')).code).toBe(0);
  });

  it('keeps a second server out of its data directory, on either runtime', async () => {
    const data = temporaryDirectory();
    const server = await serve(data, ['--runtime', 'bun']);
    for (const runtime of ['node', 'bun']) {
      const { code, stderr } = await rollcall(['serve', '--data', data, '--runtime', runtime]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(String(server.pid))]);
    }
    expect((await server.end('SIGTERM')).code).toBe(0);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('ends cleanly at %s', async (signal) => {
    const server = await serve(temporaryDirectory(), ['--runtime', 'bun']);
    expect((await server.end(signal)).code).toBe(0);
    expect(existsSync(server.ready.socket)).toBe(false);
  });

  it.each(['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const)('keeps running at %s', async (signal) => {
    const server = await serve(temporaryDirectory(), ['--runtime', 'bun']);
    process.kill(server.pid, signal);
    expect((await health(server)).runtime).toBe(version);
    expect((await server.end('SIGTERM')).code).toBe(0);
  });

  it('ends with exit code 1 and a sentence when a port is taken', async () => {
    const directory = temporaryDirectory();
    const first = await serve(join(directory, 'first'), ['--runtime', 'bun']);
    const port = new URL(first.ready.mqttUrl).port;
    mkdirSync(join(directory, 'second'), { mode: 0o700 });
    const { code, stderr } = await rollcall(
      ['serve', '--data', join(directory, 'second'), '--runtime', 'bun', '--enroll-port', '0', '--mqtt-port', port],
      { environment: { ROLLCALL_LOG_LEVEL: 'silent' } },
    );
    expect([code, stderr]).toEqual([1, expect.stringContaining(`127.0.0.1:${port}: EADDRINUSE`)]);
    expect((await first.end('SIGTERM')).code).toBe(0);
  });

  it.skipIf(deviceNode() === process.execPath)('ends when the older Node that started it is killed', async () => {
    const server = await serve(temporaryDirectory(), ['--runtime', 'bun'], { node: deviceNode() });
    expect((await health(server)).runtime).toBe(version);
    const child = childOf(server.pid) as number;
    const bun = childOf(child) as number;
    onTestFinished(() => {
      for (const pid of [child, bun]) if (!isGone(pid)) process.kill(pid, 'SIGKILL');
    });
    process.kill(server.pid, 'SIGKILL');
    await expect.poll(() => isGone(bun) && isGone(child)).toBe(true);
    expect(existsSync(server.ready.socket)).toBe(false);
  });
});
