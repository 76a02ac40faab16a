/**
 * Kills a server repeatedly while devices publish to it, and compares acknowledged messages with stored ones,
 * per device, in order. The server is a process of its own, ended by SIGKILL; devices use MQTT over mutual TLS. Half of
 * them send every number once; the others send each with a key, and unacknowledged ones again. Reports what it found and
 * gives no verdict.
 */

import { once } from 'node:events';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { type DeviceId, parseDeviceId, telemetryTopic } from '@rollcall/protocol';
import type { MqttClient } from 'mqtt';
import { openConsoleClient } from '../../console/client.ts';
import { visitDatabases } from '../fixtures/database-visits.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, serve } from '../fixtures/program.ts';

export interface CrashOptions {
  /** An empty directory. */
  readonly data: string;
  readonly kills: number;
  readonly devices: number;
  /** Messages in flight of each device. */
  readonly inflight: number;
  /** The longest time from the first acknowledgement to the kill, in ms. */
  readonly longestLife: number;
  /** A random number of 0 up to 1, as of Math.random. */
  readonly random: () => number;
  /** Another process opens, reads and closes every database all the time. */
  readonly isVisited?: boolean;
  /** Called after each kill. */
  progress?(kill: number, acknowledged: number): void;
}

export interface CrashResult {
  readonly kills: number;
  readonly acknowledged: number;
  readonly stored: number;
  /** How often another process opened and closed a database. */
  readonly visits: number;
  /** Messages sent again with their key, because it was unknown whether they were stored. */
  readonly retried: number;
  /** Acknowledged and not stored: `device number`. */
  readonly lost: readonly string[];
  /** Stored more than once. */
  readonly duplicates: readonly string[];
  /** Stored after a later one of the same device. */
  readonly misplaced: readonly string[];
}

/** Limits that a device under load would meet before the journal does. */
const ENVIRONMENT = {
  ROLLCALL_MQTT_LIMITS_MESSAGES_PER_SECOND: '0',
  ROLLCALL_MQTT_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS: '0',
  ROLLCALL_ENROLL_LIMITS_ENROLLMENTS_PER_SECOND: '0',
  ROLLCALL_ENROLL_LIMITS_ENROLLMENTS_PER_SECOND_PER_ADDRESS: '0',
  ROLLCALL_ENROLL_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS: '0',
};

const STREAM = 'count';

/**
 * A device that counts, with MQTT 3.1.1 or 5: every number is sent in order, over all of its connections; once, or with a key until it is
 * acknowledged. Then what comes again may be stored behind what was sent after it at first, but nothing is stored twice.
 */
class CountingDevice {
  readonly id: DeviceId;
  readonly acknowledged = new Set<number>();
  retried = 0;
  readonly #identity: StoredIdentity;
  readonly #isKeyed: boolean;
  readonly #protocolVersion: 4 | 5;
  /** With a key: sent and not acknowledged, oldest first. */
  #unanswered = new Set<number>();
  #sent = 0;
  #client: MqttClient | undefined;

  constructor(identity: StoredIdentity, naming: 'with keys' | 'without keys', protocolVersion: 4 | 5) {
    this.id = parseDeviceId(identity.deviceId) as DeviceId;
    this.#identity = identity;
    this.#isKeyed = naming === 'with keys';
    this.#protocolVersion = protocolVersion;
  }

  /** Publishes until the connection ends; `acked` is called at each acknowledgement. */
  async publish(mqttUrl: string, inflight: number, acked: () => void): Promise<void> {
    const protocolVersion = this.#protocolVersion;
    const client = await openMqtt({ ...this.#identity, mqttUrl }, { protocolVersion });
    this.#client = client;
    const again = [...this.#unanswered];
    const send = () => {
      if (!client.connected) return;
      const number = again.shift() ?? this.#sent + 1;
      if (number <= this.#sent) this.retried += 1;
      this.#sent = Math.max(this.#sent, number);
      if (this.#isKeyed) this.#unanswered.add(number);
      const topic = telemetryTopic(this.id, STREAM, this.#isKeyed ? `${number}.crash` : undefined);
      client.publish(topic, String(number), { qos: 1 }, (error) => {
        if (error) return; // unknown whether it was stored
        this.#unanswered.delete(number);
        this.acknowledged.add(number);
        acked();
        send();
      });
    };
    for (let i = 0; i < inflight; i += 1) send();
  }

  async leave(): Promise<void> {
    await this.#client?.endAsync(true);
  }
}

export async function crash(options: CrashOptions): Promise<CrashResult> {
  const { data, kills, inflight, longestLife, random } = options;
  let server = await start(data);
  const devices = await enrollAll(server, options.devices);
  const visitor = options.isVisited === true ? visitDatabases(data) : undefined;
  let acknowledged = 0;
  for (let kill = 1; kill <= kills; kill += 1) {
    const loaded = Promise.withResolvers<void>();
    const acked = () => {
      acknowledged += 1;
      loaded.resolve();
    };
    await Promise.all(devices.map((device) => device.publish(server.ready.mqttUrl, inflight, acked)));
    await loaded.promise;
    await once(AbortSignal.timeout(Math.ceil(random() * longestLife)), 'abort');
    await server.end('SIGKILL');
    await Promise.all(devices.map((device) => device.leave()));
    options.progress?.(kill, acknowledged);
    server = await start(data);
  }
  const visits = (await visitor?.end()) ?? 0;
  try {
    return { kills, visits, ...(await compare(server, devices)) };
  } finally {
    await server.end('SIGTERM');
  }
}

function start(data: string): Promise<RunningServer> {
  return serve(data, [], { environment: ENVIRONMENT });
}

async function enrollAll(server: RunningServer, count: number): Promise<readonly CountingDevice[]> {
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  const { text } = await operator.createToken({ uses: count });
  await operator.close();
  const devices: CountingDevice[] = [];
  for (let i = 1; i <= count; i += 1) {
    devices.push(
      new CountingDevice(
        await enrollOnce(memoryIdentityStore(), { token: text, deviceId: `counter-${i}` }),
        i % 2 === 0 ? 'with keys' : 'without keys',
        i % 4 < 2 ? 5 : 4,
      ),
    );
  }
  return devices;
}

async function compare(server: RunningServer, devices: readonly CountingDevice[]) {
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  const [lost, duplicates, misplaced]: [string[], string[], string[]] = [[], [], []];
  let acknowledged = 0;
  let stored = 0;
  let retried = 0;
  for (const device of devices) {
    const found = new Set<number>();
    let newest = 0;
    for (const number of await numbersOf(operator.exportTelemetry({ device: device.id, stream: STREAM }))) {
      if (found.has(number)) duplicates.push(`${device.id} ${number}`);
      else if (number < newest) misplaced.push(`${device.id} ${number}`);
      found.add(number);
      newest = Math.max(newest, number);
    }
    for (const number of device.acknowledged) if (!found.has(number)) lost.push(`${device.id} ${number}`);
    acknowledged += device.acknowledged.size;
    stored += found.size;
    retried += device.retried;
  }
  await operator.close();
  return { acknowledged, stored, retried, lost, duplicates, misplaced };
}

async function numbersOf(text: AsyncIterable<Buffer>): Promise<readonly number[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of text) chunks.push(chunk);
  const lines = Buffer.concat(chunks).toString().split('\n').slice(0, -1);
  return lines.map((line) => (JSON.parse(line) as { readonly payload: number }).payload);
}
