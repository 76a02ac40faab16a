/**
 * Persistent sessions and retained messages survive a kill. A server of its own is killed repeatedly
 * while devices publish for an offline service; each device is one MQTT client that reconnects by itself and
 * sends unacknowledged messages again, as the protocol requires.
 */

import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { addressOptions, type DeviceId, eventTopic, telemetryTopic, twinTopic } from '@rollcall/protocol';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { type Credentials, nextMessage } from '../fixtures/mqtt.ts';
import { type RunningServer, serve } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const KILLS = 6;
const INFLIGHT = 8;
/** Acknowledgements between two kills. */
const BETWEEN_KILLS = 120;

const ENVIRONMENT = {
  ROLLCALL_MQTT_LIMITS_MESSAGES_PER_SECOND: '0',
  ROLLCALL_MQTT_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS: '0',
  ROLLCALL_MQTT_LIMITS_QUEUED_MESSAGES: '100000',
  ROLLCALL_MQTT_LIMITS_QUEUED_BYTES: '32MiB',
  ROLLCALL_MQTT_LIMITS_OUTGOING: '64MiB',
};

type Identity = Credentials & { readonly deviceId: string };

/** Reconnects by itself, and sends unacknowledged messages again. */
function client(identity: Identity, options: IClientOptions = {}): MqttClient {
  const { mqttUrl, keyPem: key, certificatePem: cert, rootPem: ca, deviceId: clientId } = identity;
  const to = { key, cert, ca, clientId, ...addressOptions(new URL(mqttUrl).hostname) };
  const opened = mqtt.connect(mqttUrl, { ...to, clean: false, reconnectPeriod: 20, ...options });
  opened.on('error', () => {}); // the server is killed repeatedly
  onTestFinished(() => opened.endAsync(true));
  return opened;
}

function connected(one: MqttClient): Promise<unknown> {
  return new Promise((resolve) => one.once('connect', resolve));
}

/** Publishes numbers, each once, until it is stopped; then resolves with the acknowledged ones. */
function counting(device: MqttClient, topic: string, qos: 1 | 2, acked: () => void) {
  const acknowledged: number[] = [];
  const finished = Promise.withResolvers<readonly number[]>();
  let sent = 0;
  let waiting = 0;
  let isStopped = false;
  const send = () => {
    sent += 1;
    waiting += 1;
    const number = sent;
    device.publish(topic, String(number), { qos }, (error) => {
      waiting -= 1;
      // MQTT.js drops unsent messages when its connection closes while it sends stored ones again.
      if (error) {
        device.once('connect', next);
        return;
      }
      acknowledged.push(number);
      acked();
      next();
    });
  };
  const next = () => {
    if (!isStopped) send();
    else if (waiting === 0) finished.resolve(acknowledged);
  };
  for (let i = 0; i < INFLIGHT; i += 1) send();
  return {
    stop: () => {
      isStopped = true;
      return finished.promise;
    },
  };
}

async function enroll(operator: ConsoleClient, ids: readonly string[]): Promise<readonly StoredIdentity[]> {
  const { text } = await operator.createToken({ uses: ids.length });
  const identities: StoredIdentity[] = [];
  for (const deviceId of ids) identities.push(await enrollOnce(memoryIdentityStore(), { token: text, deviceId }));
  return identities;
}

it('a killed server loses no acknowledged message and repeats no QoS 2 message', async () => {
  const data = temporaryDirectory();
  const port = await freePort();
  const start = () => serve(data, ['--mqtt-port', String(port)], { environment: ENVIRONMENT });
  let server: RunningServer = await start();
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  let operator = openConsoleClient({ socketPath: server.ready.socket });
  const ids = ['once', 'twice', 'thrice', 'faint'] as DeviceId[];
  const [once1, once2, once3, faint] = (await enroll(operator, ids)) as [
    StoredIdentity,
    StoredIdentity,
    StoredIdentity,
    StoredIdentity,
  ];
  const fleet = { operator, mqttUrl: server.ready.mqttUrl } as never;
  const listener = await issueService(fleet, 'listener');
  await operator.close();

  const first = client(listener);
  await connected(first);
  await first.subscribeAsync(['devices/+/events/+', 'devices/+/twin/reported'], { qos: 2 });
  await first.endAsync(true);

  const will = {
    topic: eventTopic('faint' as DeviceId, 'gone'),
    payload: Buffer.from('bye'),
    qos: 1 as const,
    retain: false,
  };
  await connected(client(faint, { will, clean: true, reconnectPeriod: 0 }));

  let count = 0;
  let reached = Promise.withResolvers<void>();
  const acked = () => {
    count += 1;
    if (count % BETWEEN_KILLS === 0) reached.resolve();
  };
  const qos1 = client(once1);
  const qos2 = client(once2);
  const measuring = client(once3);
  await Promise.all([qos1, qos2, measuring].map(connected));
  const publishing = [
    counting(qos1, eventTopic('once' as DeviceId, 'count'), 1, acked),
    counting(qos2, eventTopic('twice' as DeviceId, 'count'), 2, acked),
    counting(measuring, telemetryTopic('thrice' as DeviceId, 'count'), 2, acked),
  ] as const;
  await qos1.publishAsync(twinTopic('once' as DeviceId, 'reported'), 'kept', { qos: 1, retain: true });
  for (let kill = 1; kill <= KILLS; kill += 1) {
    reached = Promise.withResolvers();
    await reached.promise;
    await server.end('SIGKILL');
    server = await start();
  }
  const stopped = await Promise.all([publishing[0].stop(), publishing[1].stop(), publishing[2].stop()]);
  const [acknowledged1, acknowledged2, measured] = stopped;
  expect(acknowledged1.length + acknowledged2.length + measured.length).toBeGreaterThan(KILLS * BETWEEN_KILLS);

  // The will of a connection that ended with the server is published before its client's next session.
  await connected(client(faint, { clean: true, reconnectPeriod: 0 }));
  await qos1.publishAsync(eventTopic('once' as DeviceId, 'end'), 'end', { qos: 2 });
  await server.end('SIGKILL');
  server = await start();

  const heard = new Map<string, string[]>();
  const ended = Promise.withResolvers<void>();
  const back = client(listener);
  back.on('message', (topic, payload) => {
    heard.set(topic, [...(heard.get(topic) ?? []), String(payload)]);
    if (String(payload) === 'end') ended.resolve();
  });
  expect(await connected(back)).toMatchObject({ sessionPresent: true });
  await ended.promise;

  const numbers1 = (heard.get('devices/once/events/count') ?? []).map(Number);
  const numbers2 = (heard.get('devices/twice/events/count') ?? []).map(Number);
  expect(acknowledged1.filter((number) => !numbers1.includes(number))).toEqual([]);
  expect(numbers2.toSorted((a, b) => a - b)).toEqual(acknowledged2.toSorted((a, b) => a - b));
  expect(numbers2).toEqual(numbers2.toSorted((a, b) => a - b));
  expect(heard.get('devices/faint/events/gone')).toEqual(['bye']);

  operator = openConsoleClient({ socketPath: server.ready.socket });
  const stored: number[] = [];
  for await (const chunk of operator.exportTelemetry({ device: 'thrice' as DeviceId })) {
    for (const [, payload] of String(chunk).matchAll(/"payload":(\d+)/g)) stored.push(Number(payload));
  }
  expect(stored).toEqual(measured.toSorted((a, b) => a - b));
  const reader = await issueService({ operator, mqttUrl: server.ready.mqttUrl } as never, 'reader');
  await operator.close();
  const late = client(reader, { clean: true });
  await connected(late);
  const retained = nextMessage(late);
  await late.subscribeAsync('devices/once/twin/reported', { qos: 1 });
  expect(await retained).toEqual({ topic: 'devices/once/twin/reported', payload: 'kept' });
});
