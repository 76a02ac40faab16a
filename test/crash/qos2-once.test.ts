/**
 * A QoS 2 message is in the journal once, although the server is killed between its writes to two files. The
 * client is an ordinary one: it reconnects, and sends unacknowledged messages again with the same packet identifier.
 */

import { fileURLToPath } from 'node:url';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { addressOptions, type DeviceId, telemetryTopic } from '@rollcall/protocol';
import mqtt from 'mqtt';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { lastingPorts, serve } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const KILL_BETWEEN = fileURLToPath(new URL('../fixtures/kill-between.ts', import.meta.url));

it.each(['announced', 'journalled'])(
  'a QoS 2 message is stored once when the server is killed after it was %s',
  async (point) => {
    const data = temporaryDirectory();
    const ports = await lastingPorts();
    const first = await serve(data, ports);
    const id = 'twice' as DeviceId;
    const operator = openConsoleClient({ socketPath: first.ready.socket });
    const { text: token } = await operator.createToken({ uses: 1 });
    const identity = await enrollOnce(memoryIdentityStore(), { token, deviceId: id });
    const listener = await issueService({ operator, mqttUrl: first.ready.mqttUrl } as never, 'listener');
    const port = new URL(first.ready.mqttUrl).port;
    await operator.close();
    const connect = ({ keyPem: key, certificatePem: cert, rootPem: ca }: typeof listener, clientId: string) => {
      const url = `mqtts://localhost:${port}`;
      const options = { key, cert, ca, clientId, clean: false, reconnectPeriod: 20, ...addressOptions('localhost') };
      const client = mqtt.connect(url, options);
      client.on('error', () => {}); // the server is down for a while
      onTestFinished(() => client.endAsync(true));
      return client;
    };
    // A persistent session that is offline, so that the message is queued as well.
    const listening = connect(listener, 'listener');
    await listening.subscribeAsync(telemetryTopic(id, 'count').replace(id, '+'), { qos: 2 });
    await listening.endAsync(true);
    await first.end('SIGTERM');

    const environment = { NODE_OPTIONS: `--import ${KILL_BETWEEN}`, ROLLCALL_TEST_KILL_AT: point };
    const doomed = await serve(data, ports, { environment });
    const device = connect({ ...identity, mqttUrl: '', deviceId: id } as never, id);
    const acknowledged = device.publishAsync(telemetryTopic(id, 'count'), '1', { qos: 2 });
    // The server ends itself; this signal has no effect.
    expect(await doomed.end('SIGCONT')).toMatchObject({ signal: 'SIGKILL' });
    const last = await serve(data, ports);
    onTestFinished(async () => {
      await last.end('SIGKILL');
    });
    await acknowledged;
    await device.publishAsync(telemetryTopic(id, 'count'), '2', { qos: 2 });

    const reader = openConsoleClient({ socketPath: last.ready.socket });
    onTestFinished(() => reader.close());
    const stored = await reader.queryTelemetry({ device: id });
    expect(stored.map(({ payload }) => payload)).toEqual([1, 2]);
    const heard: string[] = [];
    const both = Promise.withResolvers<void>();
    connect(listener, 'listener').on('message', (_topic, payload) => {
      heard.push(String(payload));
      if (String(payload) === '2') both.resolve();
    });
    await both.promise;
    expect(heard).toEqual(['1', '2']);
  },
  180_000,
);
