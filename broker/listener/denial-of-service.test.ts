/** What one client, or many, can do to the others: nothing. */

import { once } from 'node:events';
import net from 'node:net';
import mqttPacket from 'mqtt-packet';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { remainingLength } from '../../test/fixtures/broker/packet-corpus.ts';
import { device, service, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(async () => {
  vi.useRealTimers();
  await testBroker?.close();
});

const closed = (socket: net.Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()));

function tcp(): net.Socket {
  const socket = net.connect(testBroker.broker.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.resume();
  return socket;
}

const publishBytes = (topic: string, payload: string | Buffer, qos: 0 | 1 | 2 = 0, messageId = 1): Buffer =>
  mqttPacket.generate({
    cmd: 'publish',
    topic,
    payload,
    qos,
    retain: false,
    dup: false,
    ...(qos > 0 ? { messageId } : {}),
  });

describe('a client that is slow to connect', () => {
  const soon = { limits: { connectTimeout: 150 } };

  it('and sends nothing is closed', async () => {
    await start(soon);
    await closed(tcp());
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'connect_timeout', address: '127.0.0.1' });
    expect(testBroker.broker.counters().pending_connections).toBe(0);
  });

  it('and sends its handshake byte by byte is closed', async () => {
    await start(soon);
    const socket = tcp();
    await once(socket, 'connect');
    // A record of 16 KiB with a ClientHello that goes on and on.
    const hello = Buffer.concat([Buffer.from('1603014000010040000303', 'hex'), Buffer.alloc(16_000)]);
    let sent = 0;
    const timer = setInterval(() => socket.write(hello.subarray(sent, ++sent)), 20);
    await closed(socket);
    clearInterval(timer);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'connect_timeout' });
  });

  it('after its handshake is closed', async () => {
    await start({ limits: { connectTimeout: 10_000 } });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const client = await testBroker.open(testBroker.enroll(device('dev-1')));
    await expect.poll(() => testBroker.broker.counters().handshakes_finished_total).toBe(1);
    vi.advanceTimersByTime(10_000);
    await client.closed;
    expect(await testBroker.event('connect_failed')).toMatchObject({
      reason: 'connect_timeout',
      serial: expect.any(String),
    });
    expect(client.packets).toEqual([]);
  });

  it('and sends CONNECT byte by byte is closed', async () => {
    await start(soon);
    const client = await testBroker.open(testBroker.enroll(device('dev-1')));
    const timer = setInterval(() => client.send(Buffer.from([0x10])), 1_000);
    client.send(Buffer.from([0x10, 0x20, 0x00]));
    await client.closed;
    clearInterval(timer);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'connect_timeout' });
  });

  it('is reported differently from one that does not speak TLS', async () => {
    await start();
    const socket = tcp();
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await closed(socket);
    expect(await testBroker.event('connect_failed')).toMatchObject({
      reason: 'handshake_failed',
      detail: 'ERR_SSL_HTTP_REQUEST',
    });
    expect(testBroker.broker.counters().pending_connections).toBe(0);
  });

  it('and closes before its first byte is counted as abandoned, and is no refusal', async () => {
    await start();
    const probe = tcp();
    await once(probe, 'connect');
    await waitUntil(() => testBroker.broker.counters().pending_connections === 1);
    probe.resetAndDestroy();
    await waitUntil(() => testBroker.broker.counters().handshakes_abandoned_total === 1);
    await testBroker.connectDevice('dev-1');
    expect(testBroker.events.map(({ type }) => type)).toEqual(['connected']);
  });

  it('because the registry is slow, is closed at the deadline as well', async () => {
    await start({ ...soon, certificateStatus: () => new Promise(() => {}) });
    const client = await testBroker.open(testBroker.enroll(device('dev-1')));
    expect(await client.connect({ clientId: 'dev-1' })).toBeUndefined();
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'connect_timeout' });
  });
});

describe('pending connections', () => {
  it('are limited per address, and free their slots when they close', async () => {
    await start({ limits: { handshakesPerAddress: 3 } });
    const waiting = [tcp(), tcp(), tcp()];
    await Promise.all(waiting.map((socket) => once(socket, 'connect')));
    await waitUntil(() => testBroker.broker.counters().pending_connections === 3);
    await closed(tcp());
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'too_many_handshakes' });
    waiting[0]?.destroy();
    await waitUntil(() => testBroker.broker.counters().pending_connections === 2);
    await testBroker.connectDevice('dev-1');
    expect(testBroker.broker.counters().pending_connections).toBe(2);
    for (const socket of waiting) socket.destroy();
  });

  it('are counted by their outcome', async () => {
    await start({ limits: { connectTimeout: 60_000 } });
    const count = () => testBroker.broker.counters();
    await testBroker.connectDevice('dev-1');
    expect(count()).toMatchObject({ handshakes_begun_total: 1, handshakes_finished_total: 1 });
    expect(count().handshake_seconds_total).toBeGreaterThan(0);
    const silent = tcp();
    await waitUntil(() => count().pending_connections === 1);
    silent.destroy();
    await waitUntil(() => count().handshakes_abandoned_total === 1);
    const mute = await testBroker.open(testBroker.enroll(device('dev-2')));
    await waitUntil(() => count().handshakes_finished_total === 2);
    mute.destroy();
    await waitUntil(() => count().handshakes_abandoned_total === 2);
    await testBroker.open().then((client) => client.closed);
    expect(count()).toMatchObject({ handshakes_begun_total: 4, handshakes_finished_total: 3, pending_connections: 0 });
    expect(count()).toMatchObject({ handshakes_abandoned_total: 2, 'refused.certificate_missing': 1 });
  });

  it('are limited in total', async () => {
    await start({ limits: { handshakes: 2, handshakesPerAddress: 0 } });
    const waiting = [tcp(), tcp()];
    await waitUntil(() => testBroker.broker.counters().pending_connections === 2);
    await closed(tcp());
    expect(testBroker.broker.counters()['refused.too_many_handshakes']).toBe(1);
    for (const socket of waiting) socket.destroy();
  });

  it('do not count once they are sessions, or refused', async () => {
    await start({ limits: { handshakes: 1, handshakesPerAddress: 1 } });
    for (let n = 0; n < 5; n += 1) await testBroker.connectDevice(`dev-${n}`);
    for (let n = 0; n < 5; n += 1) await testBroker.open().then((client) => client.closed);
    expect(testBroker.broker.counters()).toMatchObject({
      pending_connections: 0,
      sessions: 5,
      'refused.certificate_missing': 5,
    });
  });

  it('are limited to a rate per address, and refused before any cryptography', async () => {
    let time = Date.now();
    await start({ now: () => time, limits: { connectionsPerSecondPerAddress: 2 } });
    const sockets = Array.from({ length: 6 }, () => tcp());
    await waitUntil(() => testBroker.broker.counters()['refused.rate_limited'] === 2);
    expect(testBroker.broker.counters().pending_connections).toBe(4);
    for (const socket of sockets) socket.destroy();
    time += 500;
    await testBroker.connectDevice('dev-1');
  });
});

describe('a client that sends', () => {
  it('a packet with too large a declared length is closed before it sends the body', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    client.send(Buffer.concat([Buffer.from([0x30]), remainingLength(200_000_000)]));
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'limit_exceeded' });
  });

  it('garbage is closed, and other sessions continue', async () => {
    await start({ limits: { takeoversPerMinute: 0 } });
    const bystander = await testBroker.connectDevice('bystander');
    const credentials = testBroker.enroll(device('dev-1'));
    for (let seed = 1; seed <= 40; seed += 1) {
      const client = await testBroker.session(credentials, { clientId: 'dev-1' });
      const noise = Buffer.from(
        Array.from({ length: 200 }, (_, index) => (Math.imul(seed * 7919 + index, 2_654_435_761) >>> 13) & 0xff),
      );
      noise[0] = 0x30 | (seed & 0x0f);
      client.send(noise);
      client.socket.end(); // some of it is the beginning of a packet that never ends
      await client.closed;
    }
    expect(await bystander.settled()).toEqual([]);
  });

  it('more subscriptions than it may have is closed', async () => {
    await start({ limits: { subscriptions: 10 } });
    const client = await testBroker.connectService('greedy');
    for (let n = 0; n < 10; n += 1) expect(await client.subscribe(`devices/dev-${n}/events/+`)).toEqual([0]);
    expect(await client.subscribe('devices/dev-0/events/+')).toEqual([0]);
    client.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['devices/dev-1/events/+'] });
    await client.settled();
    expect(await client.subscribe('devices/dev-10/events/+')).toEqual([0]);
    expect(await client.subscribe('devices/dev-11/events/+')).toBeUndefined();
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'limit_exceeded' });
  });

  it('more subscriptions in one packet than it may have is closed', async () => {
    await start({ limits: { subscriptions: 5 } });
    const client = await testBroker.connectService('greedy', { clean: false });
    expect(await client.subscribe(...Array.from({ length: 6 }, (_, n) => `devices/dev-${n}/events/+`))).toBeUndefined();
  });

  it('QoS 2 messages and never releases them is closed', async () => {
    await start({ limits: { inflight: 20, messagesPerSecond: 0, bytesPerSecond: 0 } });
    const client = await testBroker.connectDevice('dev-1');
    for (let id = 1; id <= 21; id += 1) client.send(publishBytes('devices/dev-1/events/x', 'x', 2, id));
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'limit_exceeded' });
  });

  it('QoS 2 messages under one packet identifier for ever uses no more memory', async () => {
    await start({ limits: { inflight: 20, messagesPerSecond: 0, bytesPerSecond: 0 } });
    const client = await testBroker.connectDevice('dev-1');
    for (let n = 0; n < 300; n += 1) client.send(publishBytes('devices/dev-1/events/x', 'x', 2, 7));
    expect((await client.settled()).length).toBe(300);
  });

  it('too many messages is read more slowly, and loses none', async () => {
    await start({ limits: { messagesPerSecond: 500 } });
    const client = await testBroker.connectDevice('dev-1');
    const ids = Array.from({ length: 1_400 }, (_, index) => index + 1);
    for (const id of ids) client.send(publishBytes('devices/dev-1/telemetry/t', String(id), 1, id));
    const acks = (await client.settled()).map(({ messageId }) => messageId);
    expect(acks).toEqual(ids);
  });

  it('too many bytes is read more slowly, loses none, and is not disconnected for it', async () => {
    await start({ limits: { bytesPerSecond: 20_000, throttleTimeout: 0 } });
    const client = await testBroker.connectDevice('dev-1');
    const ids = Array.from({ length: 40 }, (_, index) => index + 1);
    for (const id of ids) client.send(publishBytes('devices/dev-1/telemetry/t', 'x'.repeat(2_000), 1, id));
    const acks: (number | undefined)[] = [];
    while (acks.length < ids.length) acks.push((await client.next())?.messageId);
    expect(acks).toEqual(ids);
  });

  it('more bytes than its rate is not read, while others are', async () => {
    await start({ limits: { bytesPerSecond: 1_000 } });
    const client = await testBroker.connectDevice('dev-1');
    const other = await testBroker.connectDevice('dev-2');
    client.send(publishBytes('devices/dev-1/telemetry/t', 'x'.repeat(100_000), 1, 1)); // a minute and a half of its rate
    expect((await client.next())?.messageId).toBe(1);
    client.send(publishBytes('devices/dev-1/telemetry/t', 'one more', 1, 2));
    for (let id = 1; id <= 20; id += 1) {
      other.send(publishBytes('devices/dev-2/telemetry/t', 'x', 1, id));
      expect((await other.next())?.messageId).toBe(id);
    }
    expect(testBroker.accepted.filter(({ device: id }) => id === 'dev-1')).toHaveLength(1);
    expect(testBroker.events.some(({ type }) => type === 'disconnected')).toBe(false);
  });

  it('too many messages for too long is disconnected', async () => {
    let time = Date.now();
    await start({ now: () => time, limits: { messagesPerSecond: 1_000, throttleTimeout: 10 } });
    const client = await testBroker.connectDevice('dev-1');
    for (let n = 0; n < 2_100; n += 1) client.send(publishBytes('devices/dev-1/telemetry/t', 'x'));
    await waitUntil(() => testBroker.accepted.length >= 2_000);
    const timer = setInterval(() => {
      time += 5;
      client.send(publishBytes('devices/dev-1/telemetry/t', 'x'.repeat(100)));
      for (let n = 0; n < 10; n += 1) client.send({ cmd: 'pingreq' });
    }, 10);
    await client.closed;
    clearInterval(timer);
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'rate_exceeded' });
  });

  it('requests other than messages is limited as well', async () => {
    let time = Date.now();
    await start({ limits: { messagesPerSecond: 10, throttleTimeout: 0 }, now: () => ++time });
    const client = await testBroker.connectDevice('dev-1');
    for (let n = 0; n < 40; n += 1) client.send({ cmd: 'pingreq' });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'rate_exceeded' });
  });

  it('acknowledgements of messages that it was sent is not slowed down, but any others are', async () => {
    let time = Date.now();
    await start({ limits: { messagesPerSecond: 10, throttleTimeout: 0 }, now: () => ++time });
    const client = await testBroker.connectDevice('dev-1');
    await client.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    for (let n = 0; n < 60; n += 1) {
      const commander = await testBroker.connectService(`commander${n}`);
      await commander.publish(`devices/dev-1/commands/a/${n}`, 'x', { qos: 1 });
      const message = await client.next();
      client.send({ cmd: 'puback', messageId: message?.messageId ?? 0 });
    }
    expect(testBroker.broker.counters()['disconnected.rate_exceeded']).toBeUndefined();
    for (let n = 0; n < 200; n += 1) client.send({ cmd: 'puback', messageId: 9 });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'rate_exceeded' });
  });
});

describe('a client that does not read', () => {
  const telemetry = (id: string) => `devices/${id}/telemetry/t`;

  /** Subscribes to everything and reads nothing from then on. */
  async function stalled(qos: 0 | 1 = 0, clean = true) {
    const client = await testBroker.session(testBroker.enroll(service('stalled')), { clientId: 'stalled', clean });
    await client.subscribe({ topic: 'devices/+/telemetry/+', qos });
    client.socket.pause();
    return client;
  }

  it('neither stalls nor ends other sessions, and is disconnected', async () => {
    await start({
      limits: { messagesPerSecond: 0, bytesPerSecond: 0, stallTimeout: 1_000, sweepInterval: 50, outgoing: 256 * 1024 },
    });
    const slow = await stalled();
    const reader = await testBroker.connectService('reader');
    await reader.subscribe('devices/+/telemetry/+');
    const publisher = await testBroker.connectDevice('dev-1');
    const payload = Buffer.alloc(1_000, 0x78);
    const count = 24_000;
    const answers = reader.packets.length;
    const read = () => reader.packets.length - answers;
    for (let sent = 0; sent < count; sent += 100) {
      const batch = Buffer.concat(Array.from({ length: 100 }, () => publishBytes(telemetry('dev-1'), payload)));
      if (!publisher.socket.write(batch)) await once(publisher.socket, 'drain');
      // A reader that is behind loses messages of QoS 0 as well, and on a busy machine this one may be.
      await waitUntil(() => read() >= sent);
    }
    await waitUntil(() => read() === count);
    expect(reader.packets.slice(answers).every(({ cmd }) => cmd === 'publish')).toBe(true);
    expect(await testBroker.event('disconnected')).toMatchObject({
      identity: service('stalled'),
      reason: 'slow_consumer',
    });
    expect(testBroker.broker.counters().messages_dropped).toBeGreaterThan(0);
    await publisher.publish(telemetry('dev-1'), 'last', { qos: 1 });
    expect(await publisher.next()).toMatchObject({ cmd: 'puback' });
    slow.destroy();
  });

  it('is disconnected rather than losing QoS 1 messages', async () => {
    await start({ limits: { messagesPerSecond: 0, bytesPerSecond: 0, outgoing: 64 * 1024 } });
    const slow = await stalled(1);
    const publisher = await testBroker.connectDevice('dev-1');
    const payload = Buffer.alloc(60_000, 0x78);
    for (let id = 1; testBroker.broker.counters()['disconnected.slow_consumer'] === undefined; id += 1) {
      await publisher.publish(telemetry('dev-1'), payload, { qos: 1, messageId: id });
      await publisher.next();
    }
    expect(await publisher.settled()).toEqual([]);
    slow.destroy();
  });

  it('receives what it missed after it reconnects, if its session is persistent', async () => {
    await start({ limits: { messagesPerSecond: 0, bytesPerSecond: 0, outgoing: 64 * 1024, queuedBytes: 100_000_000 } });
    const slow = await stalled(1, false);
    const publisher = await testBroker.connectDevice('dev-1');
    const payload = (id: number) => `${id} `.padEnd(60_000, 'x');
    let last = 0;
    while (testBroker.broker.counters()['disconnected.slow_consumer'] === undefined) {
      last += 1;
      await publisher.publish(telemetry('dev-1'), payload(last), { qos: 1, messageId: last });
      await publisher.next();
    }
    slow.destroy();
    await waitUntil(() => testBroker.broker.counters().sessions === 1);
    const again = await testBroker.session(testBroker.enroll(service('stalled')), {
      clientId: 'stalled',
      clean: false,
    });
    // At the pace at which it reads.
    const heard: number[] = [];
    while (heard.length < last) {
      const packet = await again.nextOf('publish');
      heard.push(Number.parseInt(String(packet?.payload), 10));
    }
    expect(heard).toEqual(Array.from({ length: last }, (_, index) => index + 1));
  });
});
