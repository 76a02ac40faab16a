/** The npm client `mqtt`, and paho, over WebSocket with a client certificate, against bin/rollcall. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import type { IClientOptions } from 'mqtt';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startHaproxy } from '../fixtures/load-balancer.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients, startClient } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const SCRIPT = fileURLToPath(new URL('paho_round_trip.py', import.meta.url));

describeWithClients('MQTT over WebSocket', ['haproxy', 'paho'], () => {
  const data = mkdtempSync(join(tmpdir(), 'rollcall-web-socket-'));
  let server: RunningServer;
  let url: string;
  beforeAll(async () => {
    // HAProxy connects from 127.0.0.2; clients without it from 127.0.0.1.
    const environment = {
      ROLLCALL_MQTT_WEB_SOCKET_LISTEN: 'true',
      ROLLCALL_MQTT_WEB_SOCKET_PORT: '0',
      ROLLCALL_MQTT_PROXY_PROTOCOL_FROM: '127.0.0.2,10.0.0.0/8',
    };
    server = await serve(data, [], { environment });
    url = server.ready.webSocketUrl as string;
  });
  afterAll(async () => {
    await server.end('SIGTERM');
    rmSync(data, { recursive: true });
  });

  async function enroll(deviceId: string): Promise<StoredIdentity> {
    const { stdout } = await rollcall(['token', 'create', '--data', data]);
    return enrollOnce(memoryIdentityStore(), { token: stdout.trim(), deviceId });
  }

  it.each([4, 5] as const)(
    'the npm client mqtt connects with protocol version %i, and its messages are stored',
    async (protocolVersion) => {
      expect(url).toMatch(/^wss:\/\/localhost:\d+\/mqtt$/);
      const identity = await enroll(`npm-${protocolVersion}`);
      const topic = `devices/${identity.deviceId}`;
      const client = await connectMqtt({ ...identity, mqttUrl: url }, { protocolVersion });
      await client.subscribeAsync(`${topic}/commands/+/+`, { qos: 1 });
      await client.publishAsync(`${topic}/telemetry/count`, '7', { qos: 1 });
      const { stdout } = await rollcall([
        'telemetry',
        'query',
        '--device',
        identity.deviceId,
        '--data',
        data,
        '--json',
      ]);
      expect(JSON.parse(stdout)).toMatchObject({ stream: 'count', payload: 7 });
      const ended = closed(client);
      await rollcall(['device', 'revoke', identity.deviceId, '--reason', 'keyCompromise', '--data', data]);
      await ended;
      await expect(connectMqtt({ ...identity, mqttUrl: url }, { protocolVersion })).rejects.toThrow();
    },
  );

  it('paho connects, subscribes and publishes', async () => {
    const identity = await enroll('paho-ws');
    const { port, pathname: path } = new URL(url);
    const files = writeCredentials(temporaryDirectory(), identity);
    const place = { host: 'localhost', port: Number(port), path, transport: 'websockets', ...files };
    const input = JSON.stringify({ ...place, role: 'device', id: 'paho-ws' });
    const paho = startClient('paho', [SCRIPT], { directory: temporaryDirectory(), input });
    expect(await paho.line(/"subscribed"/)).toContain('"granted": [1]');
    while (!(await rollcall(['telemetry', 'query', '--device', 'paho-ws', '--data', data])).stdout.includes('level'));
    paho.kill();
  });

  it('keeps the address of a client behind a load balancer', async () => {
    const identity = await enroll('npm-far');
    const ports = { mqtt: Number(new URL(url).port), enroll: await freePort() };
    const { mqtt } = await startHaproxy(ports, 'send-proxy-v2 source 127.0.0.2');
    const wsOptions = { localAddress: '127.0.3.1', family: 4 };
    const client = await connectMqtt({ ...identity, mqttUrl: url.replace(/:\d+/, `:${mqtt}`) }, {
      wsOptions,
    } as IClientOptions);
    await client.subscribeAsync('devices/npm-far/commands/+/+');
    const { stdout } = await rollcall(['events', 'list', '--device', 'npm-far', '--data', data, '--json']);
    expect(stdout).toContain('"ip":"127.0.3.1"');
  });
});
