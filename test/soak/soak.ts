/**
 * A server under load for a long time, with causes of growing memory: a subscriber that stops reading and reconnects again
 * and again, offline subscribers, a sink whose target is unreachable. Reports how much memory the server used and
 * whether every acknowledged message is stored. Gives no verdict.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as passed } from 'node:timers/promises';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { parseDeviceId, telemetryTopic } from '@rollcall/protocol';
import type { MqttClient } from 'mqtt';
import { openConsoleClient } from '../../console/client.ts';
import { residentOf } from '../bench/process-meter.ts';
import { type Credentials, openMqtt } from '../fixtures/mqtt.ts';
import { serve } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';

export interface SoakOptions {
  /** An empty directory. */
  readonly directory: string;
  readonly minutes: number;
  readonly devices: number;
  /** Messages per second of each device, 200 bytes, QoS 1. */
  readonly rate: number;
  progress?(line: string): void;
}

export interface SoakResult {
  readonly acknowledged: number;
  readonly stored: number;
  /** How often the subscriber that stops reading connected. */
  readonly stalls: number;
  /** MiB, every five seconds. */
  readonly resident: readonly number[];
}

const FILTER = 'devices/+/telemetry/+';
const TICK_MS = 50;
const LOOK_MS = 5000;
const STALL_MS = 20_000;
const UNREACHABLE_NATS = 'nats://127.0.0.1:9';

type Identity = Credentials & { readonly deviceId: string };

export async function soak({ directory, minutes, devices, rate, progress }: SoakOptions): Promise<SoakResult> {
  const config = join(directory, 'rollcall.yaml');
  const wanted = {
    sinks: [{ name: 'dead', kind: 'nats', url: UNREACHABLE_NATS, retry: { first: '500ms', most: '2s' } }],
  };
  writeFileSync(config, JSON.stringify(wanted)); // YAML holds JSON
  const environment = {
    ROLLCALL_MQTT_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS: '0',
    ROLLCALL_ENROLL_LIMITS_ENROLLMENTS_PER_SECOND_PER_ADDRESS: '0',
    ROLLCALL_ENROLL_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS: '0',
  };
  const data = join(directory, 'data');
  const server = await serve(data, ['--config', config], { environment });
  const { mqttUrl, socket } = server.ready;
  const operator = openConsoleClient({ socketPath: socket });
  const ending = new AbortController();
  const clients: MqttClient[] = [];
  let acknowledged = 0;
  let stalls = 0;
  try {
    const services: Identity[] = [];
    for (const name of ['away-1', 'away-2', 'live', 'stalled']) {
      services.push(await issueService({ operator, mqttUrl }, name));
    }
    const [one, other, live, stalled] = services as [Identity, Identity, Identity, Identity];
    for (const away of [one, other]) await leaveSubscription(away);
    const reader = await openMqtt(live);
    clients.push(reader);
    await reader.subscribeAsync(FILTER, { qos: 1 });
    void stallRepeatedly(stalled, ending.signal, () => {
      stalls += 1;
    });

    const { text } = await operator.createToken({ uses: devices });
    const publishing: Promise<void>[] = [];
    for (let i = 1; i <= devices; i += 1) {
      const identity = await enrollOnce(memoryIdentityStore(), { token: text, deviceId: `soaked-${i}` });
      const client = await openMqtt({ ...identity, mqttUrl });
      clients.push(client);
      publishing.push(
        publish(client, identity.deviceId, rate, ending.signal, () => {
          acknowledged += 1;
        }),
      );
    }
    const resident: number[] = [];
    const end = performance.now() + minutes * 60_000;
    while (performance.now() < end) {
      await passed(LOOK_MS);
      resident.push(Math.round(residentOf(server.pid) / 1_048_576));
      progress?.(`${resident.at(-1)} MiB, ${acknowledged} acknowledged, ${stalls} stalls`);
    }
    ending.abort();
    await Promise.all(publishing);
    const { messages } = await operator.telemetryStats();
    return { acknowledged, stored: messages, stalls, resident };
  } finally {
    ending.abort();
    await Promise.all(clients.map((client) => client.endAsync(true)));
    await operator.close();
    await server.end('SIGTERM');
  }
}

/** A subscription of a persistent session that is offline: messages are queued, within limits. */
async function leaveSubscription(identity: Identity): Promise<void> {
  const client = await openMqtt(identity, { clean: false });
  await client.subscribeAsync(FILTER, { qos: 1 });
  await client.endAsync();
}

/** Stops reading for longer than the write timeout of the server, then connects again. */
async function stallRepeatedly(identity: Identity, signal: AbortSignal, stalled: () => void): Promise<void> {
  while (!signal.aborted) {
    try {
      const client = await openMqtt(identity, { keepalive: 0 });
      await client.subscribeAsync(FILTER, { qos: 0 });
      client.stream.pause();
      stalled();
      await passed(STALL_MS, undefined, { signal }).catch(() => {});
      client.end(true);
    } catch {
      await passed(500);
    }
  }
}

async function publish(
  client: MqttClient,
  deviceId: string,
  rate: number,
  signal: AbortSignal,
  acknowledged: () => void,
): Promise<void> {
  const id = parseDeviceId(deviceId);
  if (id === undefined) throw new Error('expected a device id');
  const topic = telemetryTopic(id, 'soak');
  const payload = Buffer.alloc(200, 0x20);
  const began = performance.now();
  let sent = 0;
  let waiting = 0;
  while (!signal.aborted) {
    const due = ((performance.now() - began) / 1000) * rate;
    for (; sent < due; sent += 1) {
      waiting += 1;
      client.publish(topic, payload, { qos: 1 }, (error) => {
        waiting -= 1;
        if (!error) acknowledged();
      });
    }
    await passed(TICK_MS);
  }
  for (let i = 0; i < 200 && waiting > 0; i += 1) await passed(TICK_MS);
}
