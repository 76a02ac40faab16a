/** A device of the SDK with Mosquitto, which speaks MQTT 5 and refuses messages by its access list. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Device, type DeviceError, type DeviceOptions, enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import type { MqttClient } from 'mqtt';
import { expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients, startClient } from '../fixtures/real-client.ts';
import { makeScriptedAuthority } from '../fixtures/scripted-authority.ts';
import { startScriptedEstServer } from '../fixtures/scripted-est-server.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const ACCESS = `user watcher
topic readwrite #
pattern readwrite devices/%u/telemetry/#
pattern read devices/%u/commands/#
pattern write devices/%u/responses/#
pattern write answers/%u
`;

describeWithClients('a device of the SDK with Mosquitto', ['mosquitto', 'openssl'], () => {
  async function start() {
    const directory = temporaryDirectory();
    const authority = makeScriptedAuthority();
    onTestFinished(() => authority.dispose());
    const file = (name: string, text: string) => writeFileSync(join(directory, name), text, { mode: 0o600 });
    file('server.key', authority.server.keyPem);
    file('server.pem', authority.server.certificatePem);
    file('ca.pem', authority.rootPem + authority.issuingPem);
    file('access', ACCESS);
    const port = await freePort();
    const settings = [
      ...[`listener ${port} 127.0.0.1`, 'cafile ca.pem', 'certfile server.pem', 'keyfile server.key'],
      ...['require_certificate true', 'use_identity_as_username true', 'acl_file access', 'max_packet_size 4000'],
      ...(process.getuid?.() === 0 ? ['user root'] : []), // otherwise Mosquitto drops its privileges and cannot read these files
    ];
    file('mosquitto.conf', `${settings.join('\n')}\n`);
    const broker = startClient('mosquitto', ['-v', '-c', 'mosquitto.conf'], { directory });
    await broker.line(/running/);
    const mqttUrl = `mqtts://localhost:${port}`;
    const est = await startScriptedEstServer(authority, { mqttUrl: () => mqttUrl });
    onTestFinished(() => est.close());
    const enroll = async (deviceId: string) => {
      const store = memoryIdentityStore();
      return { store, identity: await enrollOnce(store, { token: est.token(), deviceId }) };
    };
    const { identity: own } = await enroll('watcher');
    const watcher = await openMqtt(own, { protocolVersion: 5 });
    onTestFinished(() => watcher.endAsync(true));
    const { store } = await enroll('dev-1');
    const open = async (options: Partial<DeviceOptions> = {}) => {
      const device = await Device.open({ store, messageKeys: 'none', random: () => 0, ...options } as DeviceOptions);
      onTestFinished(() => device.close());
      await device.connected();
      return device;
    };
    return { open, watcher };
  }

  /** The next message that the watcher gets on a topic. */
  async function received(watcher: MqttClient, filter: string) {
    await watcher.subscribeAsync(filter, { qos: 1 });
    return new Promise<{ topic: string; payload: string; properties: Record<string, unknown> }>((resolve) => {
      watcher.once('message', (topic, payload, packet) =>
        resolve({ topic, payload: payload.toString(), properties: { ...packet.properties } }),
      );
    });
  }

  it('publishes properties, and is refused a message and a packet by words', async () => {
    const { open, watcher } = await start();
    const versions: unknown[] = [];
    const log = {
      debug: () => {},
      info: (fields: object) => versions.push((fields as { mqtt?: string }).mqtt),
      warn: () => {},
    };
    const refused: string[] = [];
    const onRefused = (topic: string, { serverReason }: DeviceError) => refused.push(`${topic} ${serverReason}`);
    const device = await open({ log, onRefused });
    expect(versions).toContain('5');
    const telemetry = received(watcher, 'devices/+/telemetry/+');
    const userProperties = [
      ['site', 'north'],
      ['site', 'gate'],
    ] as const;
    await device.publish('level', '1', { contentType: 'text/plain', userProperties, messageExpiry: 60 });
    expect(await telemetry).toMatchObject({
      ...{ topic: 'devices/dev-1/telemetry/level', payload: '1' },
      properties: { contentType: 'text/plain', userProperties: { site: ['north', 'gate'] }, messageExpiryInterval: 60 },
    });

    await expect(device.publishEvent('started', 'x')).rejects.toMatchObject({ serverReason: 'not_authorized' });
    await expect(device.publish('level', 'x'.repeat(5_000))).rejects.toMatchObject({
      serverReason: 'packet_too_large',
    });
    await device.publish('level', '2');
    expect(refused).toEqual([
      'devices/dev-1/events/started not_authorized',
      'devices/dev-1/telemetry/level packet_too_large',
    ]);
    expect(versions.filter((version) => version === '5')).toHaveLength(1); // over one connection
  });

  it('answers a command on its response topic', async () => {
    const { open, watcher } = await start();
    const device = await open({ commands: { ping: () => 'pong' } });
    const answer = received(watcher, 'answers/+');
    const properties = { responseTopic: 'answers/dev-1', correlationData: Buffer.from('c-1') };
    // The device subscribes after it has connected: what it publishes afterwards comes behind that.
    await device.publish('level', '1');
    await watcher.publishAsync('devices/dev-1/commands/ping/r-1', '{}', { qos: 1, properties });
    expect(await answer).toMatchObject({
      ...{ topic: 'answers/dev-1', payload: 'pong', properties: { correlationData: Buffer.from('c-1') } },
    });
  });
});
