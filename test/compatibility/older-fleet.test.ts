/**
 * A data directory and device stores that an earlier version wrote (fleet-2026-11.tar.gz, made by make-older-fleet.ts)
 * are opened by the current program without loss.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Device, type DeviceSettings } from '@rollcall/device-sdk';
import { connect } from 'mqtt';
import { beforeAll, describe, expect, it } from 'vitest';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';

const ARCHIVE = fileURLToPath(new URL('fleet-2026-11.tar.gz', import.meta.url));

/** The archive gets older every day, so sessions and events must not expire. */
const SETTINGS = 'mqtt:\n  limits:\n    sessionExpiry: 36500d\nevents:\n  retention:\n    age: 36500d\n';

let directory: string;
let server: RunningServer;

/** Returns what the command prints as JSON. */
async function ask(...args: string[]): Promise<unknown> {
  return (await askLines(...args))[0];
}

/** Returns what the command prints as lines of JSON. */
async function askLines(...args: string[]): Promise<readonly unknown[]> {
  const { code, stdout, stderr } = await rollcall([...args, '--json', '--data', join(directory, 'data')]);
  expect(code, stderr).toBe(0);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** The servers listen on other ports than those that the device remembers. */
function openDevice(id: string, settings: DeviceSettings = {}): Promise<Device> {
  const file = join(directory, id, 'device.json');
  const { enrollUrl, mqttUrl } = server.ready;
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), enrollUrl, mqttUrl }));
  return Device.open({ ...settings, dataDir: join(directory, id) });
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rollcall-older-'));
  execFileSync('tar', ['-C', directory, '-xzf', ARCHIVE]);
  writeFileSync(join(directory, 'rollcall.yaml'), SETTINGS);
  server = await serve(join(directory, 'data'), ['--config', join(directory, 'rollcall.yaml')]);
  return async () => {
    await server?.end('SIGTERM');
    rmSync(directory, { recursive: true });
  };
});

describe('a fleet of an earlier version', () => {
  it('has its devices with their status, its service, its token and a valid audit chain', async () => {
    const devices = (await ask('device', 'list')) as { id: string; status: string }[];
    expect(devices.map(({ id, status }) => [id, status])).toEqual([
      ['press-1', 'active'],
      ['press-2', 'active'],
      ['press-3', 'revoked'],
      ['press-4', 'suspended'],
    ]);
    expect(await ask('service', 'list')).toMatchObject([{ name: 'dashboard', status: 'active' }]);
    expect(await ask('token', 'list')).toMatchObject([{ maxUses: 10, uses: 4, group: 'press' }]);
    const verified = await rollcall(['audit', 'verify', '--data', join(directory, 'data')]);
    expect(verified).toMatchObject({ code: 0 });
  });

  it('has all of its telemetry and its events', async () => {
    const messages = await askLines('telemetry', 'query', '--device', 'press-2', '--stream', 'temperature');
    expect(messages).toMatchObject([1, 2, 3, 4, 5, 6].map((n) => ({ payload: { n } })));
    // Without a time it lists those of the last day, and the archive gets older.
    expect(await askLines('events', 'list', '--since', '2026-11-01T00:00:00Z')).toContainEqual(
      expect.objectContaining({ type: 'fleet.enroll.enrolled', subject: 'devices/press-1' }),
    );
  });

  it('delivers the queued command and the twin to a device, and receives the queue of the device', async () => {
    const heard: string[] = [];
    const waiting = await openDevice('press-1', {
      commands: {
        restart: (command) => {
          heard.push(command.requestId);
        },
      },
    });
    await waiting.connected();
    await expect.poll(() => heard).toEqual(['r-1']);
    expect(waiting.twin.reported).toMatchObject({ version: 1, state: { interval: 10 } });
    await waiting.close();

    const sending = await openDevice('press-2');
    await sending.connected();
    await sending.drained();
    await sending.close();
    expect(await ask('telemetry', 'last', '--device', 'press-2')).toMatchObject({ payload: { n: 7 } });
    const all = await askLines('telemetry', 'query', '--device', 'press-2', '--stream', 'temperature');
    expect(all).toMatchObject([1, 2, 3, 4, 5, 6, 7].map((n) => ({ payload: { n } })));
  });

  it('delivers the queued messages of its persistent session to a service', async () => {
    const pem = (name: string) => readFileSync(join(directory, 'dashboard', name));
    const heard: string[] = [];
    const client = connect(server.ready.mqttUrl, {
      ca: pem('ca.pem'),
      cert: pem('cert.pem'),
      key: pem('key.pem'),
      clientId: 'dashboard',
      clean: false,
      protocolVersion: 4,
      reconnectPeriod: 0,
    });
    client.on('message', (_topic, payload) => heard.push(payload.toString()));
    await expect.poll(() => heard).toContain('{"n":6}');
    await client.endAsync();
  });
});
