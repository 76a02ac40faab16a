/** The program takes a backup while devices publish, restores it and serves it. Devices connect without any change. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { type DeviceId, parseDeviceId, telemetryTopic } from '@rollcall/protocol';
import type { MqttClient } from 'mqtt';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const ENVIRONMENT = { ROLLCALL_MQTT_LIMITS_MESSAGES_PER_SECOND: '0' };
const IN_FLIGHT = 10;

/** Publishes 1, 2, 3, … until it is stopped. Publishes each number once. */
function countOn(client: MqttClient, id: DeviceId) {
  const acknowledged: number[] = [];
  let sent = 0;
  let isStopped = false;
  const enough = Promise.withResolvers<void>();
  const send = () => {
    if (isStopped) return;
    sent += 1;
    const number = sent;
    client.publish(telemetryTopic(id, 'count'), String(number), { qos: 1 }, (error) => {
      if (error) return;
      acknowledged.push(number);
      if (acknowledged.length === 300) enough.resolve();
      send();
    });
  };
  for (let i = 0; i < IN_FLIGHT; i += 1) send();
  return {
    id,
    acknowledged,
    enough: enough.promise,
    stop: () => {
      isStopped = true;
    },
  };
}

it('a backup contains every message acknowledged before it began, and the restored fleet works', {
  timeout: 90_000,
}, async () => {
  const parent = temporaryDirectory();
  const [data, copy, file] = ['data', 'copy', 'fleet.tar'].map((name) => join(parent, name)) as [
    string,
    string,
    string,
  ];
  const passphrase = join(parent, 'passphrase');
  writeFileSync(passphrase, 'a passphrase of this test\n', { mode: 0o600 });
  const server = await serve(data, [], { environment: ENVIRONMENT });
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  const { text } = await operator.createToken({ uses: 3 });
  const identities: StoredIdentity[] = [];
  for (let i = 1; i <= 3; i += 1) {
    identities.push(await enrollOnce(memoryIdentityStore(), { token: text, deviceId: `counter-${i}` }));
  }
  const counting = await Promise.all(
    identities.map(async (identity) =>
      countOn(
        await connectMqtt({ ...identity, mqttUrl: server.ready.mqttUrl }),
        parseDeviceId(identity.deviceId) as DeviceId,
      ),
    ),
  );
  await Promise.all(counting.map(({ enough }) => enough));
  const before = counting.map(({ acknowledged }) => [...acknowledged]);
  const secret = ['--passphrase-file', passphrase];
  await operator.addOperator({ name: 'ada' });
  await operator.createSignInLink({ operator: 'ada' });
  const taken = await rollcall(['backup', file, '--data', data, '--json', ...secret]);
  expect([taken.code, taken.stderr]).toEqual([0, '']);
  const after = counting.map(({ acknowledged }) => acknowledged.length);
  for (const [i, numbers] of before.entries()) expect(after[i]).toBeGreaterThan(numbers.length);
  for (const one of counting) one.stop();
  await operator.close();
  await server.end('SIGKILL');

  const restored = await rollcall(['restore', file, '--data', copy, ...secret]);
  expect(restored.code, restored.stderr).toBe(0);
  expect((await rollcall(['restore', file, '--data', copy, ...secret])).stderr).toContain('empty');
  const again = await serve(copy, [], { environment: ENVIRONMENT });
  onTestFinished(async () => {
    await again.end('SIGTERM');
  });
  const client = openConsoleClient({ socketPath: again.ready.socket });
  onTestFinished(() => client.close());
  for (const [i, { id }] of counting.entries()) {
    const chunks: Buffer[] = [];
    for await (const chunk of client.exportTelemetry({ device: id })) chunks.push(chunk);
    const numbers = Buffer.concat(chunks)
      .toString()
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { payload: number }).payload);
    expect(numbers).toEqual(numbers.toSorted((one, other) => one - other));
    expect(new Set(numbers).size).toBe(numbers.length);
    expect((before[i] as number[]).filter((number) => !numbers.includes(number))).toEqual([]);
    const mqtt = await connectMqtt({ ...(identities[i] as StoredIdentity), mqttUrl: again.ready.mqttUrl });
    await mqtt.publishAsync(telemetryTopic(id, 'count'), '"again"', { qos: 1 });
    const [newest] = await client.queryTelemetry({ device: id, limit: 1 });
    expect(newest).toMatchObject({ payload: 'again' });
    expect(newest?.position).toBeGreaterThan(1e12);
  }
  const audit = await client.listAudit();
  expect(audit).toContainEqual(expect.objectContaining({ action: 'fleet.restored', actor: 'server/restore' }));
  // No link or session of the backup is accepted.
  expect(audit).toContainEqual(
    expect.objectContaining({
      action: 'operator.session.ended',
      actor: 'server/restore',
      details: { links: 1, sessions: 0 },
    }),
  );
  expect(again.log()).toContain('restored from a backup');
});
