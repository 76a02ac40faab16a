/** Sessions: taking over, and how they end. What is kept and what is acknowledged stand in files of their own. */

import { afterEach, describe, expect, it } from 'vitest';
import { delayCertificateStatus } from '../../test/fixtures/broker/delayed-certificate-status.ts';
import { manualStorage } from '../../test/fixtures/broker/manual-storage.ts';
import { connectPacket } from '../../test/fixtures/broker/raw-client.ts';
import { payloads, pubacks } from '../../test/fixtures/broker/received-packets.ts';
import { CONFIRMED, device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const telemetry = 'devices/dev-1/telemetry/temp';
const commands = 'devices/dev-1/commands/+/+';

describe('a device that connects again', () => {
  it('keeps its session when an earlier connection, which is closed by then, is decided later', async () => {
    const held = delayCertificateStatus();
    await start({ certificateStatus: held.certificateStatus });
    const credentials = testBroker.enroll(device('dev-1'));
    const early = await testBroker.open(credentials);
    early.send(connectPacket({ clientId: 'dev-1' }));
    await held.asked;
    early.socket.end();
    await waitUntil(() => testBroker.broker.counters().pending_connections === 0);
    const live = await testBroker.session(credentials, { clientId: 'dev-1' });
    held.answer();
    expect(await live.settled()).toEqual([]);
    expect(testBroker.broker.counters()).toMatchObject({ takeovers: 0, sessions: 1 });
  });

  it('takes its session over, and the old connection is closed', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const old = await testBroker.session(credentials, { clientId: 'dev-1' });
    const fresh = await testBroker.session(credentials, { clientId: 'dev-1' });
    await old.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'session_taken_over' });
    await fresh.publish(telemetry, 'x', { qos: 1 });
    expect(await fresh.next()).toMatchObject({ cmd: 'puback' });
    expect(testBroker.broker.sessions()).toHaveLength(1);
    expect(testBroker.broker.counters()).toMatchObject({
      connected: 2,
      takeovers: 1,
      'disconnected.session_taken_over': 1,
    });
  });

  it('publishes the will of the connection that it takes over', async () => {
    await start();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/+/events/+');
    const credentials = testBroker.enroll(device('dev-1'));
    await testBroker.session(credentials, {
      clientId: 'dev-1',
      will: { topic: 'devices/dev-1/events/gone', payload: 'bye' },
    });
    await testBroker.session(credentials, { clientId: 'dev-1' });
    expect(await listener.next()).toMatchObject({ payload: Buffer.from('bye') });
  });

  it('many times at once leaves exactly one session that works', async () => {
    await start({ limits: { takeoversPerMinute: 0 } });
    const credentials = testBroker.enroll(device('dev-1'));
    const clients = await Promise.all(Array.from({ length: 20 }, () => testBroker.open(credentials)));
    for (const client of clients) {
      client.send(connectPacket({ clientId: 'dev-1', clean: false }));
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: commands, qos: 1 }] });
    }
    const closed = clients.map((client) => client.closed.then(() => client));
    const gone = new Set<unknown>();
    for (const one of closed) void one.then((client) => gone.add(client));
    while (gone.size < clients.length - 1) await Promise.race(closed.filter((_, index) => !gone.has(clients[index])));
    const [left] = clients.filter((client) => !gone.has(client));
    await left?.publish(telemetry, 'x', { qos: 1, messageId: 5 });
    expect(pubacks((await left?.settled()) ?? [])).toEqual([5]);
    expect(testBroker.broker.sessions()).toHaveLength(1);
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-1/commands/a/1', 'once');
    await commander.settled();
    expect(payloads((await left?.settled()) ?? [])).toEqual(['once']);
  });

  it('too often is refused for a minute, and its session continues', async () => {
    let time = Date.now();
    await start({ now: () => time, limits: { takeoversPerMinute: 2 } });
    const credentials = testBroker.enroll(device('dev-1'));
    await testBroker.session(credentials, { clientId: 'dev-1' });
    await testBroker.session(credentials, { clientId: 'dev-1' });
    const third = await testBroker.session(credentials, { clientId: 'dev-1' });
    const fourth = await testBroker.open(credentials);
    expect(await fourth.connect({ clientId: 'dev-1' })).toBe(3);
    expect(await testBroker.event('connect_failed')).toMatchObject({
      reason: 'takeover_limited',
      identity: device('dev-1'),
    });
    expect(await third.settled()).toEqual([]);
    time += 60_000;
    await testBroker.session(credentials, { clientId: 'dev-1' });
    await third.closed;
  });

  it('does not wait for a connection that is gone', async () => {
    await start({ limits: { takeoversPerMinute: 1 } });
    const credentials = testBroker.enroll(device('dev-1'));
    for (let i = 0; i < 4; i += 1) {
      const client = await testBroker.session(credentials, { clientId: 'dev-1' });
      client.send({ cmd: 'disconnect' });
      await client.closed;
    }
    expect(testBroker.broker.counters().takeovers).toBe(0);
  });
});

describe('a session ends', () => {
  it('when its certificate expires', async () => {
    let time = Date.now();
    await start({ now: () => time, limits: { sweepInterval: 5 } });
    const notAfter = Date.now() + 86_400_000;
    const client = await testBroker.session(testBroker.enroll(device('dev-1'), { notAfter }), { clientId: 'dev-1' });
    const other = await testBroker.connectDevice('dev-2');
    time = notAfter;
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({
      identity: device('dev-1'),
      reason: 'certificate_expired',
    });
    expect(await other.settled()).toEqual([]);
  });

  it('when its keep-alive expires; none, or one that is too long, is replaced by the longest', async () => {
    await start({ limits: { keepalive: 1_000 } });
    const clients = await Promise.all(
      [0, 1, 65_535].map((keepalive) => testBroker.connectDevice(`dev-${keepalive}`, { keepalive })),
    );
    await Promise.all(clients.map((client) => client.closed));
    expect(testBroker.broker.counters()['disconnected.keepalive_timeout']).toBe(3);
  });

  it('with every reason reported once', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    await testBroker.broker.disconnect(device('dev-1'), 'operator');
    await client.closed;
    await testBroker.broker.disconnect(device('dev-1'), 'operator');
    const ends = testBroker.events.filter(({ type }) => type === 'disconnected');
    expect(ends).toMatchObject([{ reason: 'operator', identity: device('dev-1'), clientId: 'dev-1' }]);
    expect(await testBroker.broker.disconnect(device('nobody'), 'operator')).toEqual({
      sessionsClosed: 0,
      ...CONFIRMED,
    });
  });

  it('even if a listener throws', async () => {
    await start();
    const original = testBroker.events.push.bind(testBroker.events);
    testBroker.events.push = (...events) => {
      original(...events);
      throw new Error('listener');
    };
    const client = await testBroker.connectDevice('dev-1');
    expect(await client.settled()).toEqual([]);
  });
});

describe('closing the broker', () => {
  it('finishes and acknowledges messages that are being stored', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const client = await testBroker.connectDevice('dev-1');
    await client.publish(telemetry, 'x', { qos: 1, messageId: 3 });
    await storage.count(1);
    const closing = testBroker.broker.close();
    storage.waiting[0]?.resolve();
    await closing;
    await client.closed;
    expect(pubacks(client.packets)).toEqual([3]);
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'server_shutdown' });
  });

  it('frees the port, publishes no will, and can be called twice', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const client = await testBroker.session(credentials, {
      clientId: 'dev-1',
      will: { topic: telemetry, payload: 'will', qos: 1 },
    });
    const halfway = await testBroker.open(testBroker.enroll(device('dev-2')));
    await Promise.all([testBroker.broker.close(), testBroker.broker.close()]);
    await Promise.all([client.closed, halfway.closed]);
    expect(testBroker.accepted).toEqual([]);
    expect(testBroker.broker.sessions()).toEqual([]);
    await expect(testBroker.open(credentials)).rejects.toThrow('ECONNREFUSED');
  });
});
