/** The device SDK against the whole server: twins, broadcasts, commands and recovery. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Device, type DeviceOptions } from '@rollcall/device-sdk';
import { commandTopic, type DeviceId, twinTopic } from '@rollcall/protocol';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { broadcastTopic } from '../../protocol/topics.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { nextMessage, openMqtt } from '../fixtures/mqtt.ts';
import { issueService } from '../fixtures/service.ts';

let fleet: TestFleet;
let service: Awaited<ReturnType<typeof openMqtt>>;
const dataDir = mkdtempSync(join(tmpdir(), 'rollcall-sdk-'));
beforeAll(async () => {
  fleet = await startFleet();
  service = await openMqtt(await issueService(fleet, 'dashboard'));
});
afterAll(async () => {
  await service.endAsync(true);
  await fleet.stop();
  rmSync(dataDir, { recursive: true });
});

const devices: Device[] = [];
afterEach(async () => {
  for (const device of devices.splice(0)) await device.close();
});

async function open(id: string, options: Partial<DeviceOptions> = {}): Promise<Device> {
  const token = await fleet.mint();
  const device = await Device.open({ dataDir: join(dataDir, id), deviceId: id, token, ...options } as DeviceOptions);
  devices.push(device);
  await device.connected();
  return device;
}

describe('a twin', () => {
  it('is retained by the broker in both directions, and reaches a device that was offline', async () => {
    const id = 'twin-1' as DeviceId;
    const first = await open(id);
    await (await first.twin.report({ interval: 10 })).acknowledged;
    await first.close();
    await service.publishAsync(twinTopic(id, 'desired'), '{"version":1,"state":{"interval":20}}', {
      qos: 1,
      retain: true,
    });
    await service.publishAsync(twinTopic(id, 'desired'), '{"version":2,"state":{"interval":30}}', {
      qos: 1,
      retain: true,
    });

    const reported = nextMessage(service);
    await service.subscribeAsync(twinTopic(id, 'reported'), { qos: 1 });
    expect(JSON.parse((await reported).payload)).toEqual({ version: 1, desiredVersion: 0, state: { interval: 10 } });

    const device = await open(id);
    const told = new Promise((resolve) => {
      device.twin.onDesired((delta, { version }) => {
        if (version === 2) resolve(delta); // the session may hold the one before as well
      });
    });
    expect(await told).toEqual({ interval: 30 });
  });
});

describe('a broadcast', () => {
  it('reaches the devices of the group, and not those of another', async () => {
    const heard: string[] = [];
    const [here] = await Promise.all(
      ['cast-1', 'cast-2'].map((id) => open(id, { broadcasts: { 'night-mode': () => heard.push(id) } })),
    );
    const other = open('cast-3', {
      token: await fleet.mint({ group: 'elsewhere' }),
      group: 'elsewhere',
      broadcasts: { '*': () => heard.push('cast-3') },
    });
    await other;
    await (here as Device).publishEvent('settled', '').then(({ acknowledged }) => acknowledged);
    await service.publishAsync(broadcastTopic('default' as never, 'night-mode'), '{"from":22}', { qos: 1 });
    await expect.poll(() => heard.length).toBe(2);
    expect(heard.sort()).toEqual(['cast-1', 'cast-2']);
  });
});

describe('commands', () => {
  it('are each answered once, a thousand at the same time', async () => {
    const id = 'busy-1' as DeviceId;
    const runs = new Map<string, number>();
    await open(id, {
      commands: {
        work: ({ requestId }) => {
          runs.set(requestId, (runs.get(requestId) ?? 0) + 1);
          return requestId;
        },
      },
    });
    const answers = new Map<string, number>();
    service.on('message', (topic, payload) => {
      if (topic.startsWith(`devices/${id}/responses/`)) {
        answers.set(payload.toString(), (answers.get(payload.toString()) ?? 0) + 1);
      }
    });
    await service.subscribeAsync(`devices/${id}/responses/+`, { qos: 1 });
    const ids = Array.from({ length: 1_000 }, (_, n) => `r-${n}`);
    await Promise.all(ids.map((request) => service.publishAsync(commandTopic(id, 'work', request), '{}', { qos: 1 })));
    await expect.poll(() => answers.size).toBe(1_000);
    expect([...runs.values()].every((times) => times === 1)).toBe(true);
  });
});

describe('a device after a failure', () => {
  it('sends its queue when the server is back, in order and once', async () => {
    const data = mkdtempSync(join(tmpdir(), 'rollcall-sdk-'));
    const settings = [[['mqtt', 'port'], await freePort()]] as const;
    const first = await startFleet({ data, settings });
    const token = await first.mint();
    const device = await Device.open({ dataDir: join(data, 'device'), token, deviceId: 'dev-1', random: () => 0.2 });
    devices.push(device);
    await (await device.publish('readings', '0')).acknowledged;
    const lost = new Promise<void>((resolve) => {
      device.onState((state) => state === 'recovering' && resolve());
    });
    await first.stop();
    await lost;
    for (const reading of ['1', '2', '3']) await device.publish('readings', reading);
    const second = await startFleet({ data, settings });
    try {
      await device.drained();
      const messages = await second.operator.queryTelemetry({ device: 'dev-1', stream: 'readings' });
      const inOrder = [...messages].sort((a, b) => a.position - b.position);
      expect(inOrder.map(({ payload, text }) => String(payload ?? text))).toEqual(['0', '1', '2', '3']);
    } finally {
      await device.close();
      await second.stop();
      rmSync(data, { recursive: true });
    }
  });

  it('that was revoked while it was offline reports it, and stops connecting', async () => {
    const device = await open('gone-1');
    await device.close();
    await fleet.operator.revokeDevices({ ids: ['gone-1'], reason: 'unspecified' });
    const again = await Device.open({ dataDir: join(dataDir, 'gone-1'), random: () => 0 });
    devices.push(again);
    const revoked = new Promise<unknown>((resolve) => {
      again.onState((state, error) => state === 'revoked' && resolve(error?.code));
    });
    expect(['device_revoked', 'certificate_rejected']).toContain(await revoked);
    await expect(again.publish('readings', 1)).rejects.toMatchObject({ status: 403 });
  });

  it('whose token is used up reports it, and uses the same key with another token', async () => {
    const token = await fleet.mint();
    await open('first-1', { token });
    const late = { dataDir: join(dataDir, 'late-1'), deviceId: 'late-1' };
    await expect(Device.open({ ...late, token })).rejects.toMatchObject({ code: 'token_rejected', status: 401 });
    const device = await Device.open({ ...late, token: await fleet.mint() });
    devices.push(device);
    await device.connected();
  });
});
