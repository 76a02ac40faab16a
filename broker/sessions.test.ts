/** Sessions: taking over, coming back, what is kept, what is acknowledged and in which order, and how they end. */

import type { Packet } from 'mqtt-packet';
import mqttPacket from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import type { TelemetryMessage } from '../telemetry/telemetry.ts';
import { connectPacket } from './testbed/raw-client.ts';
import { device, service, Testbed, type TestbedOptions } from './testbed/testbed.ts';
import { until } from './testbed/until.ts';

let bed: Testbed;
const start = async (options?: TestbedOptions) => {
  bed = await Testbed.start(options);
};
afterEach(() => bed?.close());

const payloads = (packets: readonly Packet[]) =>
  packets.flatMap((packet) => (packet.cmd === 'publish' ? [String(packet.payload)] : []));
const pubacks = (packets: readonly Packet[]) =>
  packets.flatMap((packet) => (packet.cmd === 'puback' ? [packet.messageId] : []));
const telemetry = 'devices/dev-1/telemetry/temp';
const commands = 'devices/dev-1/commands/+/+';

/** Storage that answers when the test says so. */
function manualStorage() {
  const waiting: {
    readonly message: TelemetryMessage;
    readonly resolve: () => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  let arrived = () => {};
  return {
    waiting,
    accept: (message: TelemetryMessage) =>
      new Promise<void>((resolve, reject) => {
        waiting.push({ message, resolve, reject });
        arrived();
      }),
    /** Resolves when so many wait. */
    async count(wanted: number) {
      while (waiting.length < wanted) {
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
      }
    },
  };
}

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

describe('a kept session', () => {
  it('has its filters and what came meanwhile, in order', async () => {
    await start();
    const credentials = bed.enroll(device('dev-1'));
    const first = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe({ topic: commands, qos: 1 });
    first.destroy();
    await bed.event('disconnected');
    const commander = await bed.connectService('commander');
    for (let n = 1; n <= 5; n += 1) {
      await commander.publish(`devices/dev-1/commands/a/${n}`, String(n), { qos: 1, messageId: n });
    }
    await commander.settled();
    const again = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    expect(again.packets[0]).toMatchObject({ cmd: 'connack', sessionPresent: true });
    expect(payloads(await again.settled())).toEqual(['1', '2', '3', '4', '5']);
  });

  it('gets a long backlog in steps, with what comes meanwhile behind it, each message once', async () => {
    await start({ limits: { replayPerSecond: 100, messagesPerSecond: 0 } });
    const credentials = bed.enroll(device('dev-1'));
    const first = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe({ topic: commands, qos: 1 });
    first.destroy();
    await bed.event('disconnected');
    const commander = await bed.connectService('commander');
    const send = (n: number) => commander.publish(`devices/dev-1/commands/a/${n}`, String(n), { qos: 1, messageId: n });
    for (let n = 1; n <= 20; n += 1) await send(n);
    await commander.settled();
    const again = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    const firstStep = payloads(await again.settled());
    expect(firstStep.length).toBeGreaterThan(0);
    expect(firstStep.length).toBeLessThan(20); // the connection serves its client between two steps
    for (let n = 21; n <= 25; n += 1) await send(n);
    const got = [...firstStep];
    while (got.length < 25) got.push(...payloads([(await again.next()) as Packet]));
    expect(got).toEqual(Array.from({ length: 25 }, (_, index) => String(index + 1)));
    await send(26);
    expect(await again.next()).toMatchObject({ payload: Buffer.from('26') });
    expect(payloads(await again.settled())).toEqual([]);
  });

  it('gets again what it did not acknowledge, marked as sent before [MQTT-3.3.1-1], and then the rest', async () => {
    await start({ limits: { replayPerSecond: 50 } });
    const credentials = bed.enroll(device('dev-1'));
    const first = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe({ topic: commands, qos: 1 });
    const commander = await bed.connectService('commander');
    await commander.publish('devices/dev-1/commands/a/1', '1', { qos: 1, messageId: 1 });
    const sent = await first.next();
    expect(sent).toMatchObject({ cmd: 'publish', dup: false });
    first.destroy();
    await bed.event('disconnected');
    await commander.publish('devices/dev-1/commands/a/2', '2', { qos: 1, messageId: 2 });
    await commander.settled();
    const again = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    const { messageId } = sent as { readonly messageId: number };
    expect(await again.next()).toMatchObject({ payload: Buffer.from('1'), dup: true, messageId });
    expect(await again.next()).toMatchObject({ payload: Buffer.from('2'), dup: false });
  });

  it('keeps no more than its share of messages: the oldest give way', async () => {
    await start({ limits: { queuedMessages: 3 } });
    const credentials = bed.enroll(device('dev-1'));
    const first = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe({ topic: commands, qos: 1 });
    first.destroy();
    await bed.event('disconnected');
    const commander = await bed.connectService('commander');
    for (let n = 1; n <= 8; n += 1)
      await commander.publish(`devices/dev-1/commands/a/${n}`, String(n), { qos: 1, messageId: n });
    await commander.settled();
    const again = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    expect(payloads(await again.settled())).toEqual(['6', '7', '8']);
    expect(bed.broker.counters().messages_not_queued).toBe(5);
  });

  it('makes room again as messages are acknowledged', async () => {
    await start({ limits: { queuedMessages: 3 } });
    const credentials = bed.enroll(device('dev-1'));
    const client = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    await client.subscribe({ topic: commands, qos: 1 });
    const commander = await bed.connectService('commander');
    for (let n = 1; n <= 10; n += 1) {
      await commander.publish(`devices/dev-1/commands/a/${n}`, String(n), { qos: 1, messageId: n });
      const message = await client.next();
      client.send({ cmd: 'puback', messageId: message?.messageId ?? 0 });
      await client.settled();
    }
    expect(bed.broker.counters().messages_not_queued).toBe(0);
  });

  it('is forgotten when the client asks for a clean one', async () => {
    await start();
    const credentials = bed.enroll(device('dev-1'));
    const first = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe({ topic: commands, qos: 1 });
    first.destroy();
    await bed.event('disconnected');
    const commander = await bed.connectService('commander');
    await commander.publish('devices/dev-1/commands/a/1', 'old', { qos: 1 });
    await commander.settled();
    const clean = await bed.session(credentials, { clientId: 'dev-1', clean: true });
    expect(payloads(await clean.settled())).toEqual([]);
    clean.destroy();
    await clean.closed;
    const again = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    expect(again.packets[0]).toMatchObject({ sessionPresent: false });
    expect(payloads(await again.settled())).toEqual([]);
    expect(bed.broker.counters().kept_sessions).toBe(1);
  });

  it('is forgotten when its client stays away', async () => {
    let time = Date.now();
    await start({ now: () => time, limits: { sessionExpiry: 1_000, sweepInterval: 5 } });
    const credentials = bed.enroll(device('dev-1'));
    const client = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    await client.subscribe({ topic: commands, qos: 1 });
    client.destroy();
    await until(() => bed.broker.counters().sessions === 0);
    time += 2_000;
    await until(() => bed.broker.counters().kept_sessions === 0);
    const again = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    expect(again.packets[0]).toMatchObject({ sessionPresent: false });
  });

  it('of one service are a hundred at most', async () => {
    await start();
    const credentials = bed.enroll(service('many'));
    for (let n = 0; n < 103; n += 1) {
      const client = await bed.session(credentials, { clientId: `many-${n}`, clean: false });
      client.send({ cmd: 'disconnect' });
      await client.closed;
    }
    expect(bed.broker.counters().kept_sessions).toBe(100);
  });
});

describe('an acknowledgement', () => {
  it('waits for storage, and comes in the order of the messages', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const client = await bed.connectDevice('dev-1');
    for (const messageId of [11, 12, 13]) await client.publish(telemetry, String(messageId), { qos: 1, messageId });
    await client.publish('devices/dev-1/events/door', 'x', { qos: 1, messageId: 14 });
    await storage.count(3);
    storage.waiting[2]?.resolve();
    storage.waiting[1]?.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(pubacks(client.packets)).toEqual([]);
    storage.waiting[0]?.resolve();
    expect(pubacks(await client.settled())).toEqual([11, 12, 13, 14]);
  });

  it('never comes for a message that could not be stored, nor for one after it', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const client = await bed.connectDevice('dev-1');
    for (const messageId of [1, 2, 3]) await client.publish(telemetry, String(messageId), { qos: 1, messageId });
    await storage.count(3);
    storage.waiting[2]?.resolve();
    storage.waiting[1]?.reject(new Error('disk full'));
    storage.waiting[0]?.resolve();
    await client.closed;
    expect(pubacks(client.packets)).not.toContain(2);
    expect(pubacks(client.packets)).not.toContain(3);
    expect(await bed.event('disconnected')).toMatchObject({ reason: 'storage_failed' });
  });

  it('never comes when storage throws', async () => {
    await start({
      accept: () => {
        throw new Error('closed');
      },
    });
    const client = await bed.connectDevice('dev-1');
    await client.publish(telemetry, 'x', { qos: 1 });
    await client.closed;
    expect(pubacks(client.packets)).toEqual([]);
  });

  it('of many messages in flight comes for each, and no more than the limit are in flight', async () => {
    let inFlight = 0;
    let most = 0;
    await start({
      limits: { inflight: 10, messagesPerSecond: 0 },
      accept: async () => {
        inFlight += 1;
        most = Math.max(most, inFlight);
        await new Promise((resolve) => setImmediate(resolve));
        inFlight -= 1;
      },
    });
    const client = await bed.connectDevice('dev-1');
    const ids = Array.from({ length: 500 }, (_, index) => index + 1);
    client.send(
      Buffer.concat(
        ids.map((messageId) =>
          mqttPacket.generate({
            cmd: 'publish',
            topic: telemetry,
            payload: String(messageId),
            qos: 1,
            messageId,
            retain: false,
            dup: false,
          }),
        ),
      ),
    );
    expect(pubacks(await client.settled())).toEqual(ids);
    expect(bed.accepted.map(({ payload }) => Number(payload))).toEqual(ids);
    expect(most).toBeLessThanOrEqual(10);
    expect(most).toBeGreaterThan(1);
  });

  it('of QoS 2 stores a message once, however often it is sent before its PUBREL', async () => {
    await start();
    const credentials = bed.enroll(device('dev-1'));
    const client = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    const publish: Packet = {
      cmd: 'publish',
      topic: telemetry,
      payload: 'x',
      qos: 2,
      messageId: 4,
      retain: false,
      dup: false,
    };
    client.send(publish);
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
    client.send({ ...publish, dup: true });
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
    client.destroy();
    await bed.event('disconnected');
    const again = await bed.session(credentials, { clientId: 'dev-1', clean: false });
    again.send({ ...publish, dup: true });
    expect(await again.next()).toMatchObject({ cmd: 'pubrec', messageId: 4 });
    again.send({ cmd: 'pubrel', messageId: 4 });
    expect(await again.next()).toMatchObject({ cmd: 'pubcomp', messageId: 4 });
    expect(bed.accepted).toHaveLength(1);
    again.send({ ...publish, payload: 'y' });
    await again.settled();
    expect(bed.accepted).toHaveLength(2);
    expect(bed.broker.counters().messages_accepted).toBe(2);
  });

  it('of QoS 2 comes in the order of the messages', async () => {
    await start();
    const client = await bed.connectDevice('dev-1');
    const ids = [5, 3, 9, 1, 7];
    for (const messageId of ids) await client.publish(telemetry, String(messageId), { qos: 2, messageId });
    const seen = await client.settled();
    expect(seen.map(({ cmd, messageId }) => [cmd, messageId])).toEqual(ids.map((id) => ['pubrec', id]));
    expect(bed.accepted.map(({ payload }) => Number(payload))).toEqual(ids);
  });
});

describe('a message', () => {
  it('sent together with CONNECT and DISCONNECT is stored', async () => {
    await start();
    const client = await bed.open(bed.enroll(device('dev-1')));
    const all: Packet[] = [
      connectPacket({ clientId: 'dev-1' }),
      { cmd: 'publish', topic: telemetry, payload: 'x', qos: 0, retain: false, dup: false },
      { cmd: 'publish', topic: telemetry, payload: 'y', qos: 1, messageId: 1, retain: false, dup: false },
      { cmd: 'disconnect' },
    ];
    client.send(Buffer.concat(all.map((packet) => mqttPacket.generate(packet))));
    await client.closed;
    await bed.event('disconnected', ({ reason }) => reason === 'client_disconnected');
    expect(bed.accepted.map(({ payload }) => payload.toString())).toEqual(['x', 'y']);
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack', 'puback']);
  });

  it('that arrived before the connection was lost is stored and heard', async () => {
    const storage = manualStorage();
    await start({ accept: storage.accept });
    const listener = await bed.connectService('listener');
    await listener.subscribe('devices/+/telemetry/+');
    const client = await bed.connectDevice('dev-1');
    for (let n = 1; n <= 3; n += 1) await client.publish(telemetry, String(n), { qos: 1, messageId: n });
    await storage.count(3);
    client.destroy();
    await bed.event('disconnected');
    for (const { resolve } of storage.waiting) resolve();
    const heard = [await listener.next(), await listener.next(), await listener.next()];
    expect(payloads(heard as Packet[])).toEqual(['1', '2', '3']);
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
