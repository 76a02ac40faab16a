/** A PUBACK is lost between device and broker. The message is sent again, stored once and delivered once. */

import { join } from 'node:path';
import { Device, type DeviceOptions, type Receipt } from '@rollcall/device-sdk';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { type DiscardingProxy, startDiscardingProxy } from '../fixtures/discarding-proxy.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, serve } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const STREAM = 'temp';

interface Setup {
  readonly fleet: TestFleet;
  readonly proxy: DiscardingProxy;
  /** Topics and payloads that a subscriber received. */
  readonly heard: string[];
  /** Resolves when the subscriber has received a payload. */
  hears(payload: string): Promise<void>;
  open(options?: Partial<DeviceOptions>): Promise<Device>;
}

async function start(): Promise<Setup> {
  const fleet = await startFleet();
  onTestFinished(() => fleet.stop());
  const proxy = await startDiscardingProxy(fleet.mqttUrl);
  onTestFinished(() => proxy.close());
  const service = await connectMqtt(await issueService(fleet, 'dashboard'));
  const heard: string[] = [];
  service.on('message', (topic, payload) => heard.push(`${topic} ${payload}`));
  await service.subscribeAsync('devices/+/telemetry/+', { qos: 1 });
  const dataDir = join(temporaryDirectory(), 'device');
  return {
    fleet,
    proxy,
    heard,
    hears: async (payload) => {
      while (!heard.some((text) => text.endsWith(` ${payload}`))) {
        await new Promise((resolve) => service.once('message', resolve));
      }
    },
    open: async (options = {}) => {
      const device = await opened(dataDir, proxy.mqttUrl, await fleet.mint(), options);
      await device.connected();
      return device;
    },
  };
}

/** A device that reconnects at once when its connection closes. */
async function opened(dataDir: string, mqttUrl: string, token: string, options: Partial<DeviceOptions> = {}) {
  const device = await Device.open({
    ...{ dataDir, mqttUrl, token, deviceId: 'pump-1', renewal: 'manual', random: () => 0 },
    ...options,
  } as DeviceOptions);
  onTestFinished(() => device.close());
  return device;
}

async function stored(operator: TestFleet['operator']): Promise<string[]> {
  const messages = await operator.queryTelemetry({ device: 'pump-1', limit: 100 });
  return messages.map(({ payload }) => String(payload));
}

describe('a message whose PUBACK was lost', () => {
  it('is sent again with its key, acknowledged, stored once and delivered once', async () => {
    const { fleet, proxy, heard, hears, open } = await start();
    const device = await open();
    proxy.discard();
    const receipt = await device.publish(STREAM, '1');
    await hears('1');
    proxy.disconnect();
    await receipt.acknowledged;
    await (await device.publish(STREAM, '2')).acknowledged;
    await hears('2');
    expect(heard).toEqual(['devices/pump-1/telemetry/temp 1', 'devices/pump-1/telemetry/temp 2']);
    expect(await stored(fleet.operator)).toEqual(['1', '2']);
  });

  it('is stored twice without a key, which shows that the proxy discards the PUBACK', async () => {
    const { fleet, proxy, hears, open } = await start();
    const device = await open({ messageKeys: 'none' });
    proxy.discard();
    const receipt = await device.publish(STREAM, '1');
    await hears('1');
    proxy.disconnect();
    await receipt.acknowledged;
    expect(await stored(fleet.operator)).toEqual(['1', '1']);
  });

  it('is stored and delivered once when the next process of the device sends it', async () => {
    const { fleet, proxy, heard, hears, open } = await start();
    const first = await open();
    proxy.discard();
    const { key } = await first.publish(STREAM, '1');
    await hears('1');
    await first.close();
    proxy.disconnect();
    const second = await open();
    await second.drained();
    const newer = await second.publish(STREAM, '2');
    await newer.acknowledged;
    await hears('2');
    expect(newer.key).not.toBe(key);
    expect(heard).toHaveLength(2);
    expect(await stored(fleet.operator)).toEqual(['1', '2']);
  });

  it('is stored and delivered once with QoS 2 and a client that starts the exchange again', async () => {
    const { fleet, proxy, heard, hears } = await start();
    const identity = { ...(await fleet.enroll('pump-1')), mqttUrl: proxy.mqttUrl };
    const topic = 'devices/pump-1/telemetry/temp/mine-1';
    const first = await connectMqtt(identity);
    proxy.discard();
    first.publish(topic, '1', { qos: 2 });
    await hears('1');
    proxy.disconnect();
    const second = await connectMqtt(identity);
    await second.publishAsync(topic, '1', { qos: 2 });
    await second.publishAsync('devices/pump-1/telemetry/temp/mine-2', '2', { qos: 2 });
    await hears('2');
    expect(heard).toHaveLength(2);
    expect(await stored(fleet.operator)).toEqual(['1', '2']);
  });

  it('is stored once when the server is killed before its PUBACK, and delivered to a subscriber that reconnects', async () => {
    const root = temporaryDirectory();
    const data = join(root, 'data');
    let server: RunningServer = await serve(data);
    onTestFinished(async () => void (await server.end('SIGTERM')));
    const proxy = await startDiscardingProxy(server.ready.mqttUrl);
    onTestFinished(() => proxy.close());
    let operator = openConsoleClient({ socketPath: server.ready.socket });
    const service = await issueService({ operator, mqttUrl: server.ready.mqttUrl }, 'dashboard');
    const { text } = await operator.createToken({});
    const device = await opened(join(root, 'device'), proxy.mqttUrl, text);
    await device.connected();
    proxy.discard();
    const receipt: Receipt = await device.publish(STREAM, '1');
    while ((await stored(operator)).length === 0) await new Promise((resolve) => setImmediate(resolve));
    await operator.close();
    proxy.forwardTo(undefined);
    await server.end('SIGKILL');
    proxy.disconnect();
    server = await serve(data);
    operator = openConsoleClient({ socketPath: server.ready.socket });
    onTestFinished(() => operator.close());
    const back = await connectMqtt({ ...service, mqttUrl: server.ready.mqttUrl });
    const heard = new Promise((resolve) => back.once('message', (topic, payload) => resolve(`${topic} ${payload}`)));
    await back.subscribeAsync('devices/+/telemetry/+', { qos: 1 });
    proxy.forwardTo(server.ready.mqttUrl);
    await receipt.acknowledged;
    expect(await heard).toBe('devices/pump-1/telemetry/temp 1');
    expect(await stored(operator)).toEqual(['1']);
  });
});
