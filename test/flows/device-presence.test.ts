/** Presence of devices, as `rollcall device list` shows it: over sessions, a stop of the server, and its loss. */

import { join } from 'node:path';
import { Device } from '@rollcall/device-sdk';
import type { DeviceId } from '@rollcall/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

it('tells when and from where a device was seen last, with what, and why its session ended, also after a lost server', async () => {
  const directory = temporaryDirectory();
  const data = join(directory, 'data');
  const run = async (...args: string[]) => {
    const ended = await rollcall([...args, '--data', data], { cwd: directory });
    expect(ended.code, ended.stderr).toBe(0);
    return ended;
  };
  const found = async (...args: string[]) =>
    JSON.parse((await run('device', 'list', '--json', ...args)).stdout) as Record<string, unknown>[];

  let server = await serve(data);
  expect((await run('device', 'list')).stderr).toBe('rollcall: no device is enrolled yet\n');
  const open = async (id: string) => {
    const created = await run('token', 'create', '--json', '--label', 'site=hall-3');
    const { text: token } = JSON.parse(created.stdout) as { readonly text: string };
    const options = { dataDir: join(directory, id), deviceId: id as DeviceId, token, mqttUrl: server.ready.mqttUrl };
    const device = await Device.open(options);
    onTestFinished(() => device.close());
    await device.connected();
    return device;
  };
  const first = await open('gw-1');
  const [online, ...others] = await found('--online', '--label', 'site=hall-3', '--sdk-version', '0.1.0');
  expect(others).toEqual([]);
  expect(online).toMatchObject({
    ...{ id: 'gw-1', online: true, broker: 'main', lastAddress: '127.0.0.1', mqttVersion: '5' },
    sdkVersion: 'rollcall-device-sdk/0.1.0',
  });
  expect(online).not.toHaveProperty('lastDisconnect');

  await first.close();
  await server.end('SIGTERM');
  server = await serve(data);
  const [offline] = await found('--offline', '--address', '127.0.0.0/8', '--last-seen-after', '1h');
  expect(offline).toMatchObject({ id: 'gw-1', lastDisconnect: { reason: 'client_disconnected' } });
  expect(await found('--last-seen-before', '1h')).toEqual([]);

  const second = await open('gw-2');
  expect(await found('--online')).toMatchObject([{ id: 'gw-2' }]);
  await server.end('SIGKILL');
  await second.close();
  server = await serve(data);
  const list = ['device', 'list', '--sort', 'last-seen', '--reverse', '--columns', 'device,labels,disconnect'];
  const { stdout, stderr } = await run(...list, '--limit', '1');
  expect(stdout).toMatch(/^DEVICE +LABELS +DISCONNECT\ngw-2 +site=hall-3 +the server ended without recording how\n$/);
  const [, cursor = ''] = /^rollcall: 1 device; more follow: add --cursor (\S+)$/m.exec(stderr) ?? [];
  const next = await run(...list, '--cursor', cursor);
  expect(next.stdout).toMatch(/^gw-1 +site=hall-3 +the device disconnected$/m);
  expect(next.stderr).toBe('rollcall: 1 device\n');
  expect((await run(...list, '--text', 'nothing')).stderr).toBe('rollcall: no device matches\n');
});
