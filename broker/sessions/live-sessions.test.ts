/** Sessions: taking over, and how they end. What is kept and what is acknowledged stand in files of their own. */

import { afterEach, describe, expect, it } from 'vitest';
import { manualStorage } from '../../test/fixtures/broker/manual-storage.ts';
import { connectPacket } from '../../test/fixtures/broker/raw-client.ts';
import { payloads, pubacks } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let bed: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  bed = await TestBroker.start(options);
};
afterEach(() => bed?.close());

const telemetry = 'devices/dev-1/telemetry/temp';
const commands = 'devices/dev-1/commands/+/+';

describe('a device that connects again', () => {
  it('takes its session over, and the old connection is closed', async () => {
    await start();
    const credentials = bed.enroll(device('dev-1'));
    const old = await bed.session(credentials, { clientId: 'dev-1' });
    const fresh = await bed.session(credentials, { clientId: 'dev-1' });
    await old.closed;
    expect(await bed.event('disconnected')).toMatchObject({ reason: 'session_taken_over' });
    await fresh.publish(telemetry, 'x', { qos: 1 });
    expect(await fresh.next()).toMatchObject({ cmd: 'puback' });
    expect(bed.broker.sessions()).toHaveLength(1);
    expect(bed.broker.counters()).toMatchObject({ connected: 2, takeovers: 1, 'disconnected.session_taken_over': 1 });
  });

  it('publishes the will of the connection that it replaces', async () => {
    await start();
    const listener = await bed.connectService('listener');
    await listener.subscribe('devices/+/events/+');
    const credentials = bed.enroll(device('dev-1'));
    await bed.session(credentials, { clientId: 'dev-1', will: { topic: 'devices/dev-1/events/gone', payload: 'bye' } });
    await bed.session(credentials, { clientId: 'dev-1' });
    expect(await listener.next()).toMatchObject({ payload: Buffer.from('bye') });
  });

  it('many times at once leaves exactly one session that works', async () => {
    await start({ limits: { takeoversPerMinute: 0 } });
    const credentials = bed.enroll(device('dev-1'));
    const clients = await Promise.all(Array.from({ length: 20 }, () => bed.open(credentials)));
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
    expect(bed.broker.sessions()).toHaveLength(1);
    const commander = await bed.connectService('commander');
    await commander.publish('devices/dev-1/commands/a/1', 'once');
    await commander.settled();
    expect(payloads((await left?.settled()) ?? [])).toEqual(['once']);
  });

  it('too often is refused for a minute, and the session that it has lives on', async () => {
    let time = Date.now();
    await start({ now: () => time, limits: { takeoversPerMinute: 2 } });
    const credentials = bed.enroll(device('dev-1'));
    await bed.session(credentials, { clientId: 'dev-1' });
    await bed.session(credentials, { clientId: 'dev-1' });
    const third = await bed.session(credentials, { clientId: 'dev-1' });
    const fourth = await bed.open(credentials);
    expect(await fourth.connect({ clientId: 'dev-1' })).toBe(3);
    expect(await bed.event('connect_failed')).toMatchObject({ reason: 'takeover_limited', identity: device('dev-1') });
    expect(await third.settled()).toEqual([]);
    time += 60_000;
    await bed.session(credentials, { clientId: 'dev-1' });
    await third.closed;
  });

  it('does not wait for one that is gone', async () => {
    await start({ limits: { takeoversPerMinute: 1 } });
    const credentials = bed.enroll(device('dev-1'));
    for (let i = 0; i < 4; i += 1) {
      const client = await bed.session(credentials, { clientId: 'dev-1' });
      client.send({ cmd: 'disconnect' });
      await client.closed;
    }
    expect(bed.broker.counters().takeovers).toBe(0);
  });
});

describe('a session ends', () => {
  it('when its certificate does', async () => {
    let time = Date.now();
    await start({ now: () => time, limits: { sweepInterval: 5 } });
    const notAfter = Date.now() + 86_400_000;
    const client = await bed.session(bed.enroll(device('dev-1'), { notAfter }), { clientId: 'dev-1' });
    const other = await bed.connectDevice('dev-2');
    time = notAfter;
    await client.closed;
    expect(await bed.event('disconnected')).toMatchObject({ identity: device('dev-1'), reason: 'certificate_expired' });
    expect(await other.settled()).toEqual([]);
  });

  it('when its keep-alive is over; none, or one that is too long, is the longest', async () => {
    await start({ limits: { keepalive: 1_000 } });
    const clients = await Promise.all(
      [0, 1, 65_535].map((keepalive) => bed.connectDevice(`dev-${keepalive}`, { keepalive })),
    );
    await Promise.all(clients.map((client) => client.closed));
    expect(bed.broker.counters()['disconnected.keepalive_timeout']).toBe(3);
  });

  it('with every reason told once', async () => {
    await start();
    const client = await bed.connectDevice('dev-1');
    await bed.broker.disconnect(device('dev-1'), 'operator');
    await client.closed;
    await bed.broker.disconnect(device('dev-1'), 'operator');
    const ends = bed.events.filter(({ type }) => type === 'disconnected');
    expect(ends).toMatchObject([{ reason: 'operator', identity: device('dev-1'), clientId: 'dev-1' }]);
    expect(await bed.broker.disconnect(device('nobody'), 'operator')).toEqual({ sessionsClosed: 0 });
  });

  it('whatever a listener throws', async () => {
    await start();
    const original = bed.events.push.bind(bed.events);
    bed.events.push = (...events) => {
      original(...events);
      throw new Error('listener');
    };
    const client = await bed.connectDevice('dev-1');
    expect(await client.settled()).toEqual([]);
  });
});

describe('closing the broker', () => {
  it('lets what is being stored finish, and acknowledges it', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const client = await bed.connectDevice('dev-1');
    await client.publish(telemetry, 'x', { qos: 1, messageId: 3 });
    await storage.count(1);
    const closing = bed.broker.close();
    storage.waiting[0]?.resolve();
    await closing;
    await client.closed;
    expect(pubacks(client.packets)).toEqual([3]);
    expect(await bed.event('disconnected')).toMatchObject({ reason: 'server_shutdown' });
  });

  it('frees the port, publishes no will, and can be asked for twice', async () => {
    await start();
    const credentials = bed.enroll(device('dev-1'));
    const client = await bed.session(credentials, {
      clientId: 'dev-1',
      will: { topic: telemetry, payload: 'will', qos: 1 },
    });
    const halfway = await bed.open(bed.enroll(device('dev-2')));
    await Promise.all([bed.broker.close(), bed.broker.close()]);
    await Promise.all([client.closed, halfway.closed]);
    expect(bed.accepted).toEqual([]);
    expect(bed.broker.sessions()).toEqual([]);
    await expect(bed.open(credentials)).rejects.toThrow('ECONNREFUSED');
  });
});
