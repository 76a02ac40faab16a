/** A fleet moves from its data directory to a shared store and back: real processes, a real device, and a sink. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import type { MqttClient } from 'mqtt';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { type ClusterNode, nodeOf, type SharedStore, sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt, startMqtt } from '../fixtures/mqtt.ts';
import { suitePostgres } from '../fixtures/postgres-cluster.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const COMMAND = 'devices/press-1/commands/1/reboot';

/** The server of a data directory alone. */
async function alone(data: string, config: string): Promise<ClusterNode> {
  const environment = { ROLLCALL_REQUESTS_PER_SECOND_PER_ADDRESS: '0' };
  const server = await serve(data, ['--config', config], { environment });
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  onTestFinished(async () => {
    await operator.close();
    await server.end('SIGKILL');
  });
  return nodeOf('alone', data, server, operator);
}

async function stop(node: ClusterNode): Promise<void> {
  await node.operator.close();
  expect((await node.server.end('SIGTERM')).code).toBe(0);
}

/** Connects with the session of before, and resolves with what it had queued. */
async function resume(node: ClusterNode, identity: StoredIdentity, messages: number): Promise<MqttClient> {
  const client = startMqtt(node.reached(identity), { clean: false });
  const heard: string[] = [];
  client.on('message', (_, payload) => heard.push(String(payload)));
  const connack = await new Promise((resolve, reject) => {
    client.once('connect', resolve);
    client.once('close', () => reject(new Error(`the connection was closed: ${node.server.log()}`)));
  });
  expect(connack).toMatchObject({ sessionPresent: true });
  await expect.poll(() => heard).toEqual(Array.from({ length: messages }, (_, n) => `${n}`));
  return client;
}

async function queue(node: ClusterNode, name: string, messages: number, qos: 1 | 2): Promise<void> {
  const app = await connectMqtt(await issueService(node, name));
  for (let n = 0; n < messages; n += 1) await app.publishAsync(COMMAND, `${n}`, { qos });
  await app.endAsync();
}

const publish = (client: MqttClient, key: string) =>
  client.publishAsync(`devices/press-1/telemetry/heat/${key}`, key, { qos: 1 });

describeWithClients('a fleet that moves to a shared store and back', ['postgres'], () => {
  const postgres = suitePostgres();

  function migrate(store: SharedStore, ...args: readonly string[]) {
    return rollcall(['migrate', '--json', ...args], { environment: store.settings });
  }

  it('keeps its devices, sessions, queues, keys, tokens, audit and the positions of its sinks', async () => {
    const store = await sharedStore(postgres());
    const directory = temporaryDirectory();
    const data = join(directory, 'data');
    const archive = join(directory, 'archive.ndjson');
    const config = join(directory, 'rollcall.yaml');
    writeFileSync(config, `sinks:\n  - { name: archive, kind: file, path: ${archive} }\n`);
    const archived = () =>
      readFileSync(archive, 'utf8')
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { key: string }).key);

    const first = await alone(data, config);
    const press = await first.enroll('press-1');
    const { text: token } = await first.operator.createToken({ uses: 2 });
    await enrollOnce(memoryIdentityStore(), { token, deviceId: 'press-2' });
    const before = await connectMqtt(press, { clean: false });
    await before.subscribeAsync('devices/press-1/commands/+/+', { qos: 2 });
    await publish(before, '1.epoch');
    await before.endAsync();
    await queue(first, 'one', 3, 2);
    const early = await migrate(store, '--data', data, '--to', store.url, '--journals-first');
    expect([early.stderr, JSON.parse(early.stdout)]).toMatchObject(['', { state: 'journals copied' }]);
    await stop(first);

    const moved = await migrate(store, '--data', data, '--to', store.url);
    expect(moved.stderr).toBe('');
    expect(JSON.parse(moved.stdout)).toMatchObject({
      state: 'moved',
      counts: { devices: 2, telemetry: 1, 'persistent sessions': 1, 'queued messages': 3 },
    });
    const refused = await rollcall(['serve', '--json', '--data', data]);
    expect([refused.code, refused.stderr]).toMatchObject([3, expect.stringContaining('store_moved')]);
    const doctor = (environment: Readonly<Record<string, string>> = {}) =>
      rollcall(['doctor', '--data', data], { environment });
    expect((await doctor()).stdout).toMatch(/^migration .*FAILED .*has moved to another one/m);
    const node = await store.node('a', { data, arguments: ['--config', config] });
    const client = await resume(node, press, 3);
    await publish(client, '1.epoch');
    await publish(client, '2.epoch');
    const stored = async (of: ClusterNode) =>
      (await of.operator.queryTelemetry({ device: 'press-1', limit: 10 })).map(({ key }) => key);
    expect(await stored(node)).toEqual(['1.epoch', '2.epoch']);
    expect(await node.operator.verifyAudit({})).toMatchObject({ isWhole: true });
    expect(await node.operator.listTokens()).toContainEqual(expect.objectContaining({ uses: 1, maxUses: 2 }));
    await expect.poll(archived).toEqual(['1.epoch', '2.epoch']);
    await client.endAsync();
    await queue(node, 'two', 4, 1);
    await stop(node);

    const back = await migrate(store, '--to', `file:${data}`, '--store', store.url);
    expect(back.stderr).toBe('');
    expect(JSON.parse(back.stdout)).toMatchObject({ state: 'moved', counts: { devices: 2, telemetry: 2 } });
    expect(existsSync(join(data, 'migration.json'))).toBe(false);
    expect(readdirSync(data).filter((name) => name.startsWith('moved-'))).toHaveLength(1);
    const ofStore = { ROLLCALL_STORE_URL: store.url, ...store.settings };
    expect((await doctor(ofStore)).stdout).toMatch(/^migration .*FAILED .*has moved to another one: to file:/m);
    const last = await alone(data, config);
    const again = await resume(last, press, 4);
    await publish(again, '2.epoch');
    await publish(again, '3.epoch');
    expect(await stored(last)).toEqual(['1.epoch', '2.epoch', '3.epoch']);
    expect(await last.operator.verifyAudit({})).toMatchObject({ isWhole: true });
    await expect.poll(archived).toEqual(['1.epoch', '2.epoch', '3.epoch']);
  });
});
