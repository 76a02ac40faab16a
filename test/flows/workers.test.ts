/** A server whose MQTT is served by two threads: what crosses between them, and how one of them ends. Real devices over mutual TLS. */

import { once } from 'node:events';
import net from 'node:net';
import type { Worker } from 'node:worker_threads';
import type { MqttClient } from 'mqtt';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { type Credentials, closed, connectMqtt, nextMessage, startMqtt } from '../fixtures/mqtt.ts';
import { rollcall } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';

type Identity = Credentials & { readonly deviceId: string };

/** Pending connections of one address. */
const PENDING_MAX = 10;

/** The threads of this process by name, newest last. */
const threads: Worker[] = [];
const remember = (worker: Worker) => threads.push(worker);

let fleet: TestFleet;
let count = 0;

beforeAll(async () => {
  process.on('worker', remember);
  fleet = await startFleet({
    settings: [
      [['mqtt', 'workers'], 2],
      [['mqtt', 'limits', 'takeoversPerMinute'], 0],
      [['mqtt', 'limits', 'handshakesPerAddress'], PENDING_MAX],
      [['drain', 'sessionsPerSecond'], 0],
    ],
  });
});
afterAll(async () => {
  process.off('worker', remember);
  await fleet.stop();
});
beforeEach(() => untilServing(2));

const nodes = () => fleet.operator.listNodes();

async function untilServing(count: number): Promise<void> {
  await expect.poll(async () => (await nodes()).filter(({ state }) => state === 'serving').length).toBe(count);
}

async function sessionsPerNode(): Promise<Readonly<Record<string, number>>> {
  return Object.fromEntries((await nodes()).map(({ name, sessions }) => [name, sessions]));
}

const device = () => {
  count += 1;
  return fleet.enroll(`dev-${count}`);
};

/** The kernel chooses the node: connects until it has chosen this one. */
async function connectTo(node: string, identity: Identity, options: Parameters<typeof connectMqtt>[1] = {}) {
  for (;;) {
    const before = (await sessionsPerNode())[node] ?? 0;
    const client = await connectMqtt(identity, options);
    if (((await sessionsPerNode())[node] ?? 0) > before) return client;
    await client.endAsync();
    await expect.poll(sessionsOf(identity)).toBe(0);
  }
}

const sessionsOf = (identity: Pick<Identity, 'deviceId'>) => async () =>
  (await fleet.operator.listSessions()).sessions.filter(({ clientId }) => clientId === identity.deviceId).length;

/** The thread of a node. */
function threadOf(node: string): Worker {
  const found = threads.findLast((worker) => (worker as { threadName?: string }).threadName === `rollcall ${node}`);
  return found ?? expect.fail(`there is no thread of ${node}`);
}

const reasonCode = (client: MqttClient) =>
  new Promise((resolve) => client.once('disconnect', (packet) => resolve(packet.reasonCode)));

it('a message of a device on one node is stored, and reaches a service on the other; a command goes back', async () => {
  const gateway = await device();
  const service = await issueService(fleet, 'backend');
  const app = await connectTo('w1', service);
  const client = await connectTo('w2', gateway);
  await app.subscribeAsync(`devices/${gateway.deviceId}/telemetry/heat`, { qos: 1 });
  await client.subscribeAsync(`devices/${gateway.deviceId}/commands/+/+`, { qos: 1 });
  const heard = nextMessage(app);
  await client.publishAsync(`devices/${gateway.deviceId}/telemetry/heat`, '21.5', { qos: 1 });
  expect(await heard).toMatchObject({ payload: '21.5' });
  const stored = await fleet.operator.queryTelemetry({ device: gateway.deviceId, limit: 1 });
  expect(stored).toMatchObject([{ stream: 'heat' }]);
  const command = nextMessage(client);
  await app.publishAsync(`devices/${gateway.deviceId}/commands/reboot/7`, 'now', { qos: 1 });
  expect(await command).toMatchObject({ payload: 'now' });
});

it('limits of connections per address hold for both nodes together', async () => {
  const { hostname, port } = new URL(fleet.mqttUrl);
  const refused = new Set<net.Socket>();
  const sockets = Array.from({ length: PENDING_MAX + 15 }, () => {
    const socket = net.connect(Number(port), hostname);
    socket.on('error', () => {});
    return socket.once('close', () => refused.add(socket));
  });
  await expect.poll(() => refused.size).toBe(15);
  expect(await fleet.operator.metrics()).toMatch(new RegExp(`^rollcall_pending_connections ${PENDING_MAX}$`, 'm'));
  for (const socket of sockets) socket.destroy();
  await expect.poll(() => fleet.operator.metrics()).toMatch(/^rollcall_pending_connections 0$/m);
});

it('a device that connects to another node ends its session on the first', async () => {
  const gateway = await device();
  const first = await connectTo('w1', gateway, { protocolVersion: 5 });
  const told = reasonCode(first);
  const before = (await sessionsPerNode()).w2 ?? 0;
  while (((await sessionsPerNode()).w2 ?? 0) === before) await connectMqtt(gateway);
  expect(await told).toBe(0x8e);
  await expect.poll(sessionsOf(gateway)).toBe(1);
});

it('a revoked device has no session when the command returns, whichever node it was on', async () => {
  const gateways = [await device(), await device()];
  const ends = [await connectTo('w1', gateways[0] as Identity), await connectTo('w2', gateways[1] as Identity)].map(
    closed,
  );
  for (const { deviceId } of gateways) {
    const { devices } = await fleet.operator.revokeDevices({ ids: [deviceId], reason: 'keyCompromise' });
    expect(devices).toMatchObject([{ sessionsClosed: 1, brokersConfirmed: 2 }]);
    expect(await sessionsOf({ deviceId })()).toBe(0);
  }
  await Promise.all(ends);
  await expect(connectMqtt(gateways[0] as Identity)).rejects.toThrow();
});

it('a node that crashes loses its connections alone; sessions and queues are there when its clients come back', async () => {
  const [lost, kept, sender] = [await device(), await device(), await issueService(fleet, 'sender')];
  const topic = `devices/${lost.deviceId}/commands/say/1`;
  const victim = await connectTo('w1', lost, { clean: false });
  await victim.subscribeAsync(`devices/${lost.deviceId}/commands/+/+`, { qos: 1 });
  const other = await connectTo('w2', kept);
  const app = await connectTo('w2', sender);
  const gone = closed(victim);
  const exited = once(threadOf('w1'), 'exit');
  await threadOf('w1').terminate();
  await Promise.all([gone, exited]);
  await app.publishAsync(topic, 'while away', { qos: 1 });
  await other.publishAsync(`devices/${kept.deviceId}/telemetry/heat`, 'still here', { qos: 1 });
  const again = startMqtt(lost, { clean: false });
  expect(await nextMessage(again, topic)).toMatchObject({ payload: 'while away' });
  await untilServing(2);
  expect(await nodes()).toMatchObject([
    { name: 'w1', crashes: 1 },
    { name: 'w2', crashes: 0 },
  ]);
  await connectTo('w1', kept);
});

it('a drained node tells clients of MQTT 5 to use another server, publishes no will, and serves again', async () => {
  const [first, second, watcher] = [await device(), await device(), await issueService(fleet, 'watcher')];
  const will = {
    topic: `devices/${first.deviceId}/telemetry/will`,
    payload: Buffer.from('gone'),
    qos: 1,
    retain: false,
  };
  const moved = await connectTo('w1', first, { protocolVersion: 5, will: will as never });
  const stays = await connectTo('w2', second);
  const app = await connectTo('w2', watcher);
  await app.subscribeAsync('devices/+/telemetry/+', { qos: 1 });
  const topics: string[] = [];
  app.on('message', (topic) => topics.push(topic));
  const told = reasonCode(moved);
  const drained = await rollcall(['node', 'drain', 'w1', '--rate', '0', '--data', fleet.data]);
  expect(drained).toMatchObject({ code: 0, stdout: expect.stringMatching(/^w1 is serving with \d sessions\n$/) });
  expect(await told).toBe(0x9c);
  expect((await connectMqtt(first)).connected).toBe(true);
  await untilServing(2);
  await stays.publishAsync(`devices/${second.deviceId}/telemetry/heat`, '1', { qos: 1 });
  await expect.poll(() => topics).toEqual([`devices/${second.deviceId}/telemetry/heat`]);
  expect(stays.connected).toBe(true);
});
