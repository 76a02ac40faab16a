/** One owner, or many, cannot use up what all share of the memory between connections; and nothing is acknowledged that nobody keeps. */

import { afterEach, describe, expect, it } from 'vitest';
import { payloads, pubacks } from '../../test/fixtures/broker/received-packets.ts';
import { device, service, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const KIB = 1024;
const reported = (id: string) => `devices/${id}/twin/reported`;

/** A device with a session that waits for its commands; it has gone away. */
async function awayDevice(id = 'away') {
  const credentials = testBroker.enroll(device(id));
  const connect = () => testBroker.session(credentials, { clientId: id, clean: false });
  const first = await connect();
  await first.subscribe({ topic: `devices/${id}/commands/+/+`, qos: 1 });
  first.destroy();
  await testBroker.event('disconnected', ({ clientId }) => clientId === id);
  return connect;
}

/** Sends so many commands of QoS 1 and says which of them were acknowledged. */
async function command(id: string, count: number, bytes = 1) {
  const commander = await testBroker.session(testBroker.enroll(service('commander')), { clientId: 'commander' });
  for (let n = 1; n <= count; n += 1) {
    const payload = Buffer.alloc(bytes, String(n % 10));
    await commander.publish(`devices/${id}/commands/a/${n}`, payload, { qos: 1, messageId: n });
  }
  const acknowledged = pubacks(await commander.settled());
  commander.destroy();
  return acknowledged;
}

/** What a stored message weighs besides its topic and payload. */
const OVERHEAD = 200;

/** Each retains one message on its own topic that weighs so many bytes; returns how many were acknowledged. */
async function retainLarge(devices: number, bytes: number): Promise<number> {
  let acknowledged = 0;
  for (let n = 0; n < devices; n += 1) {
    const topic = reported(`large-${n}`);
    const client = await testBroker.connectDevice(`large-${n}`);
    const payload = Buffer.alloc(bytes - topic.length - OVERHEAD, 'x');
    await client.publish(topic, payload, { qos: 1, retain: true });
    acknowledged += pubacks(await client.settled()).length;
    client.destroy();
  }
  return acknowledged;
}

describe('the size limit of the session store', () => {
  it('is not exhausted by 260 devices that each retain 256 KiB: commands and small messages of others are stored', async () => {
    await start({ limits: { replayPerSecond: 0 } });
    const connect = await awayDevice();
    const acknowledged = await retainLarge(260, 256 * KIB);
    expect(acknowledged).toBeGreaterThan(50);
    expect(acknowledged).toBeLessThan(260);
    expect(await command('away', 10)).toHaveLength(10);
    expect(payloads(await (await connect()).settled())).toHaveLength(10);

    const small = await testBroker.connectDevice('small');
    await small.publish(reported('small'), 'x'.repeat(14), { qos: 1, retain: true });
    expect(pubacks(await small.settled())).toHaveLength(1);
    const refused = testBroker.events.filter(
      (event) => event.type === 'disconnected' && event.reason === 'limit_exceeded',
    );
    expect(refused).toHaveLength(260 - acknowledged);
  });

  it('leaves every device its guaranteed share when others have exhausted the limit', async () => {
    await start({ storedBytes: 64 * KIB, limits: { replayPerSecond: 0 } });
    await retainLarge(40, 3 * KIB); // within what each is guaranteed, and together more than there is
    const late = await testBroker.connectDevice('late');
    await late.publish(reported('late'), 'x'.repeat(14), { qos: 1, retain: true });
    expect(pubacks(await late.settled())).toHaveLength(1);
    const connect = await awayDevice();
    expect(await command('away', 10)).toHaveLength(10);
    expect(payloads(await (await connect()).settled())).toHaveLength(10);
  });

  it('reports the device that would exceed its share, counts it and reports that the store is nearly full', async () => {
    await start({ storedBytes: 256 * KIB });
    const client = await testBroker.connectDevice('greedy');
    const bystander = await testBroker.connectDevice('bystander');
    await client.publish(reported('greedy'), Buffer.alloc(100 * KIB), { qos: 1, retain: true });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ clientId: 'greedy', reason: 'limit_exceeded' });
    expect(await testBroker.event('share_exceeded')).toMatchObject({
      identity: device('greedy'),
      share: { kept: 'retained', bound: 'shared', heldBytes: 0 },
    });
    expect(testBroker.broker.counters()).toMatchObject({
      'session_store_refused/kind=retained': 1,
      session_store_short: 1,
    });
    await bystander.publish(reported('bystander'), 'x', { qos: 1, retain: true });
    expect(pubacks(await bystander.settled())).toHaveLength(1);
  });

  it('does not acknowledge a command that no queue could store, and delivers every one that it acknowledged', async () => {
    await start({ storedBytes: 64 * KIB, limits: { replayPerSecond: 0 } });
    const connect = await awayDevice();
    const acknowledged = await command('away', 60, KIB);
    expect(acknowledged.length).toBeGreaterThan(10);
    expect(acknowledged.length).toBeLessThan(60);
    expect(await testBroker.event('disconnected', ({ clientId }) => clientId === 'commander')).toMatchObject({
      reason: 'storage_failed',
    });
    expect(await testBroker.event('share_exceeded')).toMatchObject({
      identity: device('away'),
      share: { kept: 'queued' },
    });
    expect(payloads(await (await connect()).settled())).toHaveLength(acknowledged.length);
  });

  it('does not acknowledge a QoS 2 command that no queue could store', async () => {
    await start({ storedBytes: 64 * KIB, limits: { replayPerSecond: 0 } });
    await awayDevice();
    const commander = await testBroker.connectService('commander');
    for (let n = 1; n <= 60; n += 1) {
      await commander.publish(`devices/away/commands/a/${n}`, Buffer.alloc(KIB), { qos: 2, messageId: n });
    }
    const received = (await commander.settled()).filter(({ cmd }) => cmd === 'pubrec');
    expect(received.length).toBeLessThan(60);
    expect(await testBroker.event('disconnected', ({ clientId }) => clientId === 'commander')).toMatchObject({
      reason: 'storage_failed',
    });
  });

  it('protects the queues of one owner from those of others', async () => {
    await start({ storedBytes: 512 * KIB, limits: { messagesPerSecond: 0, replayPerSecond: 0 } });
    const credentials = testBroker.enroll(service('collector'));
    for (let n = 0; n < 50; n += 1) {
      const client = await testBroker.session(credentials, { clientId: `collector-${n}`, clean: false });
      await client.subscribe({ topic: 'devices/+/events/#', qos: 1 });
      client.destroy();
      await client.closed;
    }
    const connect = await awayDevice();
    const talker = await testBroker.connectDevice('talker');
    for (let n = 1; n <= 90; n += 1) {
      await talker.publish('devices/talker/events/e', Buffer.alloc(8 * KIB), { qos: 1, messageId: n });
    }
    await talker.settled();
    expect(testBroker.broker.counters().queued_message_bytes).toBeLessThan(256 * KIB);
    expect(await command('away', 10, KIB)).toHaveLength(10);
    expect(payloads(await (await connect()).settled())).toHaveLength(10);
  });

  it('stores and acknowledges telemetry although a disconnected service has no room', async () => {
    await start({ storedBytes: 16 * KIB, limits: { messagesPerSecond: 0 } });
    const reader = await testBroker.session(testBroker.enroll(service('reader')), { clientId: 'reader', clean: false });
    await reader.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    reader.destroy();
    await reader.closed;
    const talker = await testBroker.connectDevice('talker');
    for (let n = 1; n <= 40; n += 1) {
      await talker.publish('devices/talker/telemetry/t', Buffer.alloc(KIB), { qos: 1, messageId: n });
    }
    expect(pubacks(await talker.settled())).toHaveLength(40);
    expect(testBroker.accepted).toHaveLength(40);
    expect(await testBroker.event('share_exceeded')).toMatchObject({
      identity: service('reader'),
      share: { kept: 'queued' },
    });
  });
});

it('one service has no more connected sessions than one identity may, whatever client ids it chooses', async () => {
  await start({ limits: { sessionsPerIdentity: 2 } });
  const credentials = testBroker.enroll(service('many'));
  const clients = [1, 2].map((n) => testBroker.session(credentials, { clientId: `many-${n}` }));
  const [first] = await Promise.all(clients);
  expect(await (await testBroker.open(credentials)).connect({ clientId: 'many-3' })).toBe(3);
  expect(await testBroker.event('connect_failed')).toMatchObject({
    reason: 'too_many_sessions',
    identity: service('many'),
  });
  await testBroker.session(credentials, { clientId: 'many-2' }); // one that takes over adds none
  first?.destroy();
  await testBroker.event('disconnected', ({ clientId }) => clientId === 'many-1');
  await testBroker.session(credentials, { clientId: 'many-3' });
});
