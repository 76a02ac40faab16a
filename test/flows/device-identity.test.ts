/** A device whose application uses the npm library mqtt: identity and renewal by the device SDK, against the whole server. */

import { X509Certificate } from 'node:crypto';
import { DeviceIdentity, type DeviceIdentityOptions, memoryIdentityStore } from '@rollcall/device-sdk';
import { type DeviceId, telemetryTopic } from '@rollcall/protocol';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { manualTime } from '../fixtures/manual-time.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet.stop());

async function open(id: string, options: Partial<DeviceIdentityOptions> = {}): Promise<DeviceIdentity> {
  const token = await fleet.mint();
  const all = { store: memoryIdentityStore(), deviceId: id, token, ...options } as DeviceIdentityOptions;
  const device = await DeviceIdentity.open(all);
  onTestFinished(() => device.close());
  return device;
}

async function connect(device: DeviceIdentity, options: IClientOptions = {}): Promise<MqttClient> {
  const client = mqtt.connect(
    device.mqttOptions<IClientOptions>({
      clean: false,
      protocolVersion: 5,
      reconnectPeriod: 20,
      ...options,
    }) as IClientOptions,
  );
  onTestFinished(() => client.endAsync(true));
  await connected(client);
  return client;
}

function connected(client: MqttClient): Promise<void> {
  return new Promise((resolve) => client.once('connect', () => resolve()));
}

async function sessionSerial(id: string): Promise<bigint> {
  const [session] = (await fleet.operator.listSessions()).sessions.filter(({ clientId }) => clientId === id);
  return BigInt(`0x${session?.serial}`);
}

const serialOf = (device: DeviceIdentity) => BigInt(`0x${new X509Certificate(device.mqttOptions().cert).serialNumber}`);

it.each([5, 4] as const)(
  'a stock client of MQTT version %s keeps publishing over a renewal, and loses no message',
  async (protocolVersion) => {
    const id = `stock-${protocolVersion}`;
    const device = await open(id);
    const client = await connect(device, { protocolVersion });
    device.keepCurrent(client);
    const before = await sessionSerial(id);
    const acknowledged: string[] = [];
    const publish = async (n: number) => {
      await client.publishAsync(telemetryTopic(id as DeviceId, 'level', `k.${n}`), String(n), { qos: 1 });
      acknowledged.push(String(n));
    };
    const sending: Promise<void>[] = [];
    for (let n = 0; n < 50; n += 1) sending.push(publish(n));
    const reconnected = connected(client);
    const renewing = device.renew();
    for (let n = 50; n < 100; n += 1) sending.push(publish(n));
    await renewing;
    for (let n = 100; n < 150; n += 1) sending.push(publish(n));
    await reconnected;
    await Promise.all(sending);
    expect(acknowledged).toHaveLength(150);
    const stored = await fleet.operator.queryTelemetry({ device: id as DeviceId, limit: 1_000 });
    expect(stored.length).toBe(150);
    expect(await sessionSerial(id)).toBe(serialOf(device));
    expect(serialOf(device)).not.toBe(before);
  },
);

it('renews before the certificate ends, and gives the next connection the new pair', async () => {
  const time = manualTime(Date.now());
  const dataDir = temporaryDirectory();
  const { now, schedule } = time;
  const device = await open('timed-1', { ...{ dataDir, now, schedule, random: () => 0 }, store: undefined } as never);
  const before = device.mqttOptions();
  const renewed = new Promise<void>((resolve) => {
    device.onRenewed(resolve);
  });
  const end = new X509Certificate(before.cert).validToDate.getTime();
  // Past the window of every serial: it ends before 0.8 of the life.
  time.advance((end - now()) * 0.85);
  await renewed;
  expect(device.mqttOptions()).toMatchObject({
    host: before.host,
    port: before.port,
    clientId: 'timed-1',
    ca: before.ca,
  });
  expect(device.mqttOptions().cert).not.toBe(before.cert);
  await connect(device);
  expect(await sessionSerial('timed-1')).toBe(serialOf(device));

  await device.close();
  const again = await DeviceIdentity.open({ dataDir });
  onTestFinished(() => again.close());
  expect(again.mqttOptions().cert).toBe(device.mqttOptions().cert);
});

it('reports that the device was revoked', async () => {
  const refused: string[] = [];
  const device = await open('gone-1', { onRefused: ({ code }) => refused.push(code) });
  await fleet.operator.revokeDevices({ ids: ['gone-1' as DeviceId], reason: 'unspecified' });
  await expect(device.renew()).rejects.toMatchObject({ code: 'device_revoked' });
  expect(refused).toEqual(['device_revoked']);
});
