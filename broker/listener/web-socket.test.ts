/** MQTT over WebSocket: the upgrade, the messages, and that every check and limit of MQTT over TLS applies. */

import { once } from 'node:events';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it, vi } from 'vitest';
import WebSocket, { type ClientOptions } from 'ws';
import { freePort } from '../../cli/free-port.ts';
import type { Credentials } from '../../test/fixtures/broker/certificates.ts';
import { device, root, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

const OWN_PORT = { host: '127.0.0.1', port: 0, path: '/mqtt', origins: ['https://console.example.com'] };

const OLDER =
  'GET /mqtt HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 7\r\nsec-websocket-protocol: mqtt\r\n\r\n';

let testBroker: TestBroker;
const open: WebSocket[] = [];
const start = async (options: TestBrokerOptions = {}) => {
  testBroker = await TestBroker.start({ webSocket: OWN_PORT, ...options });
};
afterEach(async () => {
  vi.useRealTimers();
  for (const webSocket of open.splice(0)) webSocket.terminate();
  await testBroker.close();
});

interface Upgrade extends ClientOptions {
  readonly path?: string;
  readonly protocols?: string[];
}

function dial(
  credentials?: Credentials,
  { path = '/mqtt', protocols = ['mqtt'], ...options }: Upgrade = {},
): WebSocket {
  const url = `wss://localhost:${testBroker.broker.webSocketPort}${path}`;
  const own = credentials === undefined ? {} : { key: credentials.key, cert: credentials.chain };
  const lookup = ((_host: string, _options: object, done: (error: null, addresses: object[]) => void) =>
    done(null, [{ address: '127.0.0.1', family: 4 }])) as never;
  const webSocket = new WebSocket(url, protocols, { ca: root.pem, lookup, ...own, ...options });
  webSocket.on('error', () => {});
  open.push(webSocket);
  return webSocket;
}

/** Packets that come in binary messages. */
function received(webSocket: WebSocket): { next(): Promise<Packet> } {
  const parser = mqttPacket.parser();
  const packets: Packet[] = [];
  let wake = () => {};
  parser.on('packet', (packet: Packet) => {
    packets.push(packet);
    wake();
  });
  webSocket.on('message', (data: Buffer) => parser.parse(data));
  return {
    next: async () => {
      while (packets.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return packets.shift() as Packet;
    },
  };
}

const connectBytes = (clientId: string) =>
  mqttPacket.generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId, clean: true, keepalive: 60 });
const publishBytes = (topic: string, payload: string, messageId: number) =>
  mqttPacket.generate({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false, messageId });

async function session(id: string) {
  const webSocket = dial(testBroker.enroll(device(id)));
  await once(webSocket, 'open');
  const packets = received(webSocket);
  webSocket.send(connectBytes(id));
  expect(await packets.next()).toMatchObject({ cmd: 'connack', returnCode: 0 });
  return { webSocket, packets };
}

/** The close code of a WebSocket connection. */
const closed = async (webSocket: WebSocket) => (await once(webSocket, 'close'))[0] as number;

describe('a session over WebSocket', () => {
  it('has the subprotocol mqtt, no extension, and the identity of its certificate', async () => {
    await start();
    const { webSocket } = await session('dev-1');
    expect([webSocket.protocol, webSocket.extensions]).toEqual(['mqtt', '']);
    expect(await testBroker.event('connected')).toMatchObject({ identity: device('dev-1'), address: '127.0.0.1' });
  });

  it('takes packets that are split over messages or share one', async () => {
    await start();
    const { webSocket, packets } = await session('dev-1');
    const topic = 'devices/dev-1/telemetry/t';
    const two = Buffer.concat([publishBytes(topic, 'a', 1), publishBytes(topic, 'b', 2)]);
    webSocket.send(two.subarray(0, 5));
    webSocket.send(two.subarray(5));
    expect([await packets.next(), await packets.next()]).toMatchObject([{ messageId: 1 }, { messageId: 2 }]);
    expect(testBroker.accepted.map(({ payload }) => String(payload))).toEqual(['a', 'b']);
  });

  it('gets messages that others send', async () => {
    await start();
    const { webSocket, packets } = await session('dev-1');
    const subscriptions = [{ topic: 'devices/dev-1/commands/+/+', qos: 1 as const }];
    webSocket.send(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions }));
    expect(await packets.next()).toMatchObject({ cmd: 'suback', granted: [1] });
    const text = 'x'.repeat(100_000);
    const service = await testBroker.connectService('backend');
    service.send(publishBytes('devices/dev-1/commands/say/1', text, 1));
    expect(await packets.next()).toMatchObject({ cmd: 'publish', payload: Buffer.from(text) });
  });

  it('ends when its device is revoked', async () => {
    await start();
    const { webSocket } = await session('dev-1');
    const code = closed(webSocket);
    testBroker.revokeInRegistry(device('dev-1'));
    expect(await testBroker.broker.disconnect(device('dev-1'), 'revoked')).toMatchObject({ sessionsClosed: 1 });
    await code;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'revoked' });
  });

  it('ends at a text message [MQTT-6.0.0-1]', async () => {
    await start();
    const { webSocket } = await session('dev-1');
    webSocket.send('text');
    await closed(webSocket);
    expect(await testBroker.event('disconnected')).toMatchObject({ identity: device('dev-1') });
  });

  it('ends at a message larger than a packet may be', async () => {
    await start({ limits: { packet: 32_768 } });
    const { webSocket } = await session('dev-1');
    webSocket.send(Buffer.alloc(32_769));
    expect(await closed(webSocket)).toBe(1009);
    expect(await testBroker.event('disconnected')).toMatchObject({ identity: device('dev-1') });
  });

  it('ends when its client closes it', async () => {
    await start();
    const { webSocket } = await session('dev-1');
    webSocket.close();
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'connection_lost' });
  });

  it('answers pings, and ends at a flood of them or of empty messages', async () => {
    await start();
    const { webSocket } = await session('dev-1');
    webSocket.ping('a');
    expect(String((await once(webSocket, 'pong'))[0])).toBe('a');
    for (let n = 0; n < 60; n += 1) webSocket.send(Buffer.alloc(0));
    await closed(webSocket);
    expect(await testBroker.event('disconnected')).toMatchObject({ identity: device('dev-1') });
  });
});

describe('a client of WebSocket', () => {
  it('without a certificate is refused, and may send no more than a CONNECT', async () => {
    await start();
    const first = dial();
    await once(first, 'open');
    first.send(connectBytes('dev-1'));
    await closed(first);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'certificate_missing' });
    const second = dial();
    await once(second, 'open');
    second.send(Buffer.alloc(16_385));
    expect(await closed(second)).toBe(1009);
  });

  it('with a revoked certificate is refused', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    testBroker.revokeInRegistry(device('dev-1'));
    const webSocket = dial(credentials);
    await once(webSocket, 'open');
    webSocket.send(connectBytes('dev-1'));
    await closed(webSocket);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'revoked', address: '127.0.0.1' });
  });

  it.each<[string, Upgrade, number, string]>([
    ['another path', { path: '/other' }, 404, 'another path'],
    ['another subprotocol', { protocols: ['amqp'] }, 400, 'without the subprotocol mqtt'],
    ['no subprotocol', { protocols: [] }, 400, 'without the subprotocol mqtt'],
    ['the origin of another page', { origin: 'https://evil.example' }, 403, 'another origin'],
    ['the origin null', { origin: 'null' }, 403, 'another origin'],
  ])('is answered and reported when it asks with %s', async (_name, upgrade, status, detail) => {
    await start();
    const [, response] = await once(dial(testBroker.enroll(device('dev-1')), upgrade), 'unexpected-response');
    expect(response.statusCode).toBe(status);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'upgrade_refused', detail });
    expect(testBroker.broker.counters().pending_connections).toBe(0);
  });

  it.each(['https://console.example.com', 'own'])('may connect from a page of the origin %s', async (origin) => {
    await start();
    const own = `https://localhost:${testBroker.broker.webSocketPort}`;
    await once(dial(undefined, { origin: origin === 'own' ? own : origin }), 'open');
  });

  it.each([
    ['a request', 'GET /mqtt HTTP/1.1\r\nhost: x\r\n\r\n', '426 Upgrade Required', 'no upgrade'],
    ['an older version of WebSocket', OLDER, '400 Bad Request', 'not a handshake of WebSocket version 13'],
    ['MQTT without WebSocket', '\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04dev1', '400 Bad Request', 'not HTTP'],
    ['headers without an end', `GET /mqtt HTTP/1.1\r\na: ${'b'.repeat(9_000)}`, '400 Bad Request', 'not HTTP'],
  ])('is answered and reported when it sends %s', async (_name, bytes, status, detail) => {
    await start();
    const socket = await openTls(testBroker.broker.webSocketPort as number);
    socket.write(bytes);
    expect(String((await once(socket, 'data'))[0])).toMatch(`HTTP/1.1 ${status}\r\n`);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'upgrade_refused', detail });
  });

  it('has one deadline for handshake, upgrade and CONNECT', async () => {
    await start({ limits: { connectTimeout: 10_000 } });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const silent = await openTls(testBroker.broker.webSocketPort as number);
    const isClosed = once(silent.resume(), 'close');
    vi.advanceTimersByTime(10_000);
    await isClosed;
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'connect_timeout' });
    const webSocket = dial(testBroker.enroll(device('dev-1')));
    await once(webSocket, 'open');
    const ended = closed(webSocket);
    vi.advanceTimersByTime(10_000);
    await ended;
    expect(await testBroker.event('connect_failed', ({ serial }) => serial !== undefined)).toMatchObject({
      reason: 'connect_timeout',
    });
    expect(testBroker.broker.counters().pending_connections).toBe(0);
  });

  it('is closed when the broker closes, before its upgrade and after', async () => {
    await start();
    const silent = await openTls(testBroker.broker.webSocketPort as number);
    const { webSocket } = await session('dev-1');
    const both = [closed(webSocket), once(silent.resume(), 'close')];
    await testBroker.broker.close();
    await Promise.all(both);
  });
});

describe('one port for both', () => {
  it('serves WebSocket to clients that offer http/1.1, and MQTT to all others', async () => {
    const port = await freePort();
    await start({ port, webSocket: { ...OWN_PORT, port } });
    expect([testBroker.broker.port, testBroker.broker.webSocketPort]).toEqual([port, port]);
    await once(dial(undefined, { ALPNProtocols: ['http/1.1'] } as Upgrade), 'open');
    const connected = async (id: string, ALPNProtocols: string[]) => {
      const client = await testBroker.open(testBroker.enroll(device(id)), { ALPNProtocols });
      return client.connect({ clientId: id });
    };
    expect([await connected('dev-1', ['mqtt']), await connected('dev-2', [])]).toEqual([0, 0]);
    await expect(openTls(port, { ALPNProtocols: ['h2'] })).rejects.toThrow(/alert no application protocol|ALPN/i);
    await testBroker.event('connect_failed', ({ reason }) => reason === 'handshake_failed');
  });
});

async function openTls(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', ca: root.pem, servername: 'localhost', ...options });
  await once(socket, 'secureConnect');
  socket.on('error', () => {});
  return socket;
}
