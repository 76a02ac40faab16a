/** Another process opens the databases of a running server. No acknowledged message is lost, and the server continues. */

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { type DeviceId, telemetryTopic } from '@rollcall/protocol';
import Database from 'better-sqlite3';
import type { MqttClient } from 'mqtt';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { listSegments } from '../../storage/index.ts';
import { openDatabasesOf } from '../fixtures/database-locks.ts';
import { visitOnce } from '../fixtures/database-visits.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const ID = 'dev-1' as DeviceId;

const UNLIMITED = { ROLLCALL_MQTT_LIMITS_MESSAGES_PER_SECOND: '0' };
const SMALL_SEGMENTS = {
  ...UNLIMITED,
  ROLLCALL_TELEMETRY_RETENTION_BYTES: '2MiB',
  ROLLCALL_TELEMETRY_SHARES_DEVICE: '0%',
};

/** A fleet of one device that has run before, so that its databases are opened, not created. */
async function startedAgain(environment: Readonly<Record<string, string>> = UNLIMITED): Promise<{
  readonly data: string;
  readonly identity: StoredIdentity;
  start(): Promise<RunningServer>;
}> {
  const data = join(temporaryDirectory(), 'data');
  const start = () => serve(data, [], { environment });
  const server = await start();
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  const { text: token } = await operator.createToken({ uses: 1 });
  const identity = await enrollOnce(memoryIdentityStore(), { token, deviceId: ID });
  await operator.close();
  const client = await connectMqtt({ ...identity, mqttUrl: server.ready.mqttUrl });
  await publish(client, 0, 10);
  await server.end('SIGTERM');
  return { data, identity, start };
}

/** Publishes one after the other, so that each message is a commit of its own. */
async function publish(client: MqttClient, first: number, count: number, padding = 0): Promise<void> {
  for (let number = first; number < first + count; number += 1) {
    const payload = JSON.stringify({ number, padding: 'x'.repeat(padding) });
    await client.publishAsync(telemetryTopic(ID, 'count'), payload, { qos: 1 });
  }
}

async function numbersIn(server: RunningServer): Promise<readonly number[]> {
  return withOperator(server, async (operator) => {
    const chunks: Buffer[] = [];
    for await (const chunk of operator.exportTelemetry({ device: ID })) chunks.push(chunk);
    const lines = Buffer.concat(chunks).toString().trim().split('\n');
    return lines.map((line) => (JSON.parse(line) as { payload: { number: number } }).payload.number);
  });
}

async function withOperator<Value>(server: RunningServer, use: (operator: ConsoleClient) => Promise<Value>) {
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  try {
    return await use(operator);
  } finally {
    await operator.close();
  }
}

describe.runIf(existsSync('/proc/locks'))('the databases of a running server', () => {
  it('stay locked by it from its start on, also after a new segment, a backup, retention and queries', async () => {
    const { data, identity, start } = await startedAgain(SMALL_SEGMENTS);
    const server = await start();
    onTestFinished(async () => {
      await server.end('SIGKILL');
    });
    const expectLocked = (names: readonly string[]) => {
      const { open, unlocked } = openDatabasesOf(server.pid);
      expect(open.map((path) => path.slice(data.length + 1))).toEqual(expect.arrayContaining([...names]));
      expect(unlocked).toEqual([]);
    };
    const newest = (journal: string) => {
      const file = listSegments(join(data, journal)).at(-1)?.file ?? '';
      return file.slice(data.length + 1);
    };
    const always = ['registry.db'];
    const written = () => [...always, newest('telemetry'), newest('events')];
    expectLocked(written());

    const first = newest('telemetry');
    const client = await connectMqtt({ ...identity, mqttUrl: server.ready.mqttUrl }, { clean: false });
    await client.subscribeAsync(`devices/${ID}/commands/+/+`, { qos: 1 });
    always.push('sessions.db');
    await publish(client, 10, 140, 4000);
    expect(newest('telemetry')).not.toBe(first);
    expectLocked(written());

    expect(await numbersIn(server)).toHaveLength(150);
    expectLocked([...written(), first]);

    const backup = await rollcall(['backup', join(data, '..', 'fleet.tar'), '--data', data]);
    expect(backup.code, backup.stderr).toBe(0);
    expectLocked(written());

    await publish(client, 150, 400, 4000);
    await rollcall(['telemetry', 'prune', '--data', data]);
    expect(listSegments(join(data, 'telemetry'))[0]?.file).not.toContain(first);
    expectLocked(written());
    expect((await numbersIn(server)).at(-1)).toBe(549);
    expectLocked(written());
  });

  it.each(['SIGKILL', 'SIGTERM'] as const)(
    'may be opened and closed by another process: acknowledged messages survive %s, are returned by queries, and are in a backup',
    async (signal) => {
      const { data, identity, start } = await startedAgain();
      const server = await start();
      onTestFinished(async () => {
        await server.end('SIGKILL');
      });
      const client = await connectMqtt({ ...identity, mqttUrl: server.ready.mqttUrl });
      await publish(client, 10, 20);
      visitOnce(data);
      await publish(client, 30, 20);
      visitOnce(data);
      const all = Array.from({ length: 50 }, (_, number) => number);
      expect(await numbersIn(server)).toEqual(all);

      const [file, passphrase, copy] = [
        join(data, '..', 'fleet.tar'),
        join(data, '..', 'pass'),
        join(data, '..', 'copy'),
      ];
      writeFileSync(passphrase, 'a passphrase of this test\n', { mode: 0o600 });
      const secret = ['--passphrase-file', passphrase];
      const backup = await rollcall(['backup', file, '--data', data, ...secret]);
      expect(backup.code, backup.stderr).toBe(0);
      await server.end(signal);

      const again = await start();
      expect(await numbersIn(again)).toEqual(all);
      await again.end('SIGTERM');
      expect((await rollcall(['restore', file, '--data', copy, ...secret])).code).toBe(0);
      const restored = await serve(copy);
      expect(await numbersIn(restored)).toEqual(all);
      await restored.end('SIGTERM');
    },
    180_000,
  );

  it('may be checkpointed, and read for a long time, by another process', async () => {
    const { data, identity, start } = await startedAgain();
    const server = await start();
    const client = await connectMqtt({ ...identity, mqttUrl: server.ready.mqttUrl });
    const [segment] = listSegments(join(data, 'telemetry'));
    const outside = new Database(segment?.file as string);
    onTestFinished(() => {
      outside.close();
    });
    outside.exec('BEGIN');
    outside.prepare('SELECT count(*) FROM blocks').get();
    await publish(client, 10, 20);
    outside.exec('COMMIT');
    outside.pragma('wal_checkpoint(TRUNCATE)');
    await publish(client, 30, 200, 2000);
    outside.close();
    await server.end('SIGKILL');
    const again = await start();
    expect(await numbersIn(again)).toEqual(Array.from({ length: 230 }, (_, number) => number));
    await again.end('SIGTERM');
  });

  it('that another process has locked delay acknowledgements, which is logged, and no message is lost', async () => {
    const { data, identity, start } = await startedAgain();
    const server = await start();
    const client = await connectMqtt({ ...identity, mqttUrl: server.ready.mqttUrl });
    const [segment] = listSegments(join(data, 'telemetry'));
    const outside = new Database(segment?.file as string);
    onTestFinished(() => {
      outside.close();
    });
    outside.exec('BEGIN IMMEDIATE');
    let isAcknowledged = false;
    const published = publish(client, 10, 1).then(() => {
      isAcknowledged = true;
    });
    await server.untilLogged('telemetry is held');
    expect(server.log()).toContain('SQLITE_BUSY');
    expect(isAcknowledged).toBe(false);
    expect(await withOperator(server, (operator) => operator.health())).toMatchObject({ telemetry: 'behind' });
    outside.exec('ROLLBACK');
    await published;
    await server.end('SIGKILL');
    const again = await start();
    expect((await numbersIn(again)).at(-1)).toBe(10);
    await again.end('SIGTERM');
  });
});
