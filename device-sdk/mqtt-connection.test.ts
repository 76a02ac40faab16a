import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import mqttPacket from 'mqtt-packet';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import type { ConnectionEnd } from './connection-end.ts';
import { enrollOnce } from './enrollment.ts';
import { memoryIdentityStore, type StoredIdentity } from './identity-store.ts';
import { MqttConnection, type MqttConnectionListener, type MqttConnectionOptions } from './mqtt-connection.ts';
import { PacketIds } from './packet-ids.ts';

const { describe, it } = testsWithClients('device-sdk/mqtt-connection.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
let identity: StoredIdentity;
beforeAll(async () => {
  const est = await startScriptedEstServer(authority);
  identity = await enrollOnce(memoryIdentityStore(), { token: est.token() });
  await est.close();
});
afterAll(() => authority.dispose());

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const sockets = new Set<{ destroy(): void }>();
  server.on('connection', (socket) => sockets.add(socket));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `mqtts://localhost:${(server.address() as AddressInfo).port}`;
}

/** TLS of the fleet's own, and behind it whatever a test wants to say. */
function brokerThat(behaves: (socket: TLSSocket) => void): Promise<string> {
  const { keyPem, certificatePem } = authority.server;
  const server = createServer(
    { key: keyPem, cert: certificatePem, ca: [authority.rootPem, authority.issuingPem], requestCert: true },
    (socket) => {
      socket.on('error', () => {});
      behaves(socket);
    },
  );
  return listening(server);
}

/** Answers by packet; what it doesn't know it leaves unanswered. */
function answering(answers: Readonly<Record<string, (packet: { messageId?: number }) => Buffer | undefined>>) {
  return (socket: TLSSocket) => {
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    parser.on('packet', (packet) => {
      const answer = answers[packet.cmd]?.(packet as { messageId?: number });
      if (answer !== undefined) socket.write(answer);
    });
    socket.on('data', (bytes: Buffer) => parser.parse(bytes));
  };
}

const CONNACK = mqttPacket.generate({ cmd: 'connack', returnCode: 0, sessionPresent: false });
const PINGRESP = mqttPacket.generate({ cmd: 'pingresp' });

function connect(
  mqttUrl: string,
  options: Partial<MqttConnectionOptions> = {},
  listener: Partial<MqttConnectionListener> = {},
) {
  let connection: MqttConnection | undefined;
  const end = new Promise<ConnectionEnd>((ended) => {
    connection = new MqttConnection(
      {
        ...{ identity, mqttUrl, packetIds: new PacketIds(), clean: true, dates: 'system' },
        ...{ version: 4, sessionExpiry: 3_600, keepalive: 60, connectTimeout: 10_000, ackTimeout: 60_000 },
        ...options,
      },
      { connected: () => {}, message: () => undefined, ...listener, ended },
    );
  });
  cleanups.push(() => connection?.close());
  return { connection: connection as MqttConnection, end };
}

const message = (payload: string) => ({
  ...{ topic: 'devices/a/telemetry/t', payload: Buffer.from(payload), qos: 1 as const, packetId: 0, sends: 1 },
});

describe('a connection', () => {
  it('is given up when the broker accepts it and then says nothing', async () => {
    const mqttUrl = await listening(createTcpServer((socket) => socket.on('error', () => {})));
    const { error, kind } = await connect(mqttUrl, { connectTimeout: 20 }).end;
    expect(kind).toBe('lost');
    expect(error).toMatchObject({ code: 'connection_lost', message: expect.stringContaining('no CONNACK') });
  });

  it('that is cut in the middle of the handshake is lost', async () => {
    const mqttUrl = await listening(createTcpServer((socket) => socket.once('data', () => socket.destroy())));
    expect(await connect(mqttUrl).end).toMatchObject({ kind: 'lost', error: { code: 'connection_lost' } });
  });

  it.each([['HTTP without TLS', (url: () => Promise<string>) => url()]])(
    'to a proxy that answers %s is not taken for a broker',
    async () => {
      const html = 'HTTP/1.1 302 Found\r\nlocation: http://portal.example\r\n\r\n<html>';
      const mqttUrl = await listening(createTcpServer((socket) => socket.on('error', () => {}).end(html)));
      expect(await connect(mqttUrl).end).toMatchObject({ kind: 'refused', error: { code: 'server_untrusted' } });
    },
  );

  it('whose broker answers with a page of HTML is lost', async () => {
    const mqttUrl = await brokerThat((socket) =>
      socket.write('<!doctype html><html><body>sign in here first</body></html>'),
    );
    const { kind, error } = await connect(mqttUrl).end;
    expect(kind).toBe('lost');
    expect(error.message).toContain('malformed packet');
  });

  it('that is half-open is found out: a probe that nobody answers ends it', async () => {
    const mqttUrl = await brokerThat(answering({ connect: () => CONNACK }));
    const { end } = connect(mqttUrl, { keepalive: 0.05 });
    expect(await end).toMatchObject({ kind: 'lost', error: { message: expect.stringContaining('the line is dead') } });
  });

  it('that is idle stays, as long as probes are answered', async () => {
    let probes = 0;
    const enough = Promise.withResolvers<void>();
    const mqttUrl = await brokerThat(
      answering({
        connect: () => CONNACK,
        pingreq: () => {
          probes += 1;
          if (probes === 3) enough.resolve();
          return PINGRESP;
        },
      }),
    );
    // A second for each answer, which is longer than a busy machine holds a process up.
    const { end } = connect(mqttUrl, { keepalive: 2 });
    await expect(Promise.race([end, enough.promise.then(() => 'alive')])).resolves.toBe('alive');
  });

  it('on which PUBACK never comes is given up, though the broker is there', async () => {
    const mqttUrl = await brokerThat(answering({ connect: () => CONNACK, pingreq: () => PINGRESP }));
    const { connection, end } = connect(mqttUrl, { keepalive: 1, ackTimeout: 1_200 }, {});
    connection.send(message('1'), () => expect.unreachable());
    expect(await end).toMatchObject({ kind: 'lost', error: { message: expect.stringContaining('no PUBACK') } });
  });

  it('acknowledges what it was sent in the order in which it came, when each is safe', async () => {
    const acknowledged: number[] = [];
    const all = Promise.withResolvers<void>();
    const publish = (messageId: number) =>
      mqttPacket.generate({
        cmd: 'publish',
        topic: 't',
        payload: String(messageId),
        qos: 1,
        messageId,
        dup: false,
        retain: false,
      });
    const mqttUrl = await brokerThat(
      answering({
        connect: () => Buffer.concat([CONNACK, publish(1), publish(2), publish(3)]),
        puback: ({ messageId }) => {
          acknowledged.push(messageId as number);
          if (acknowledged.length === 2) all.resolve();
          return undefined;
        },
      }),
    );
    const first = Promise.withResolvers<void>();
    // The second fails while the first is still awaited, which must not go unhandled.
    const safe: Readonly<Record<string, () => Promise<void>>> = {
      '1': () => first.promise,
      '2': () => Promise.reject(new Error('the disk is full')),
      '3': () => Promise.resolve(),
    };
    const { end } = connect(
      mqttUrl,
      {},
      {
        message: (_topic, payload) => {
          if (payload.toString() === '3') setImmediate(() => first.resolve());
          return safe[payload.toString()]?.();
        },
      },
    );
    await Promise.race([all.promise, end]);
    expect(acknowledged).toEqual([1, 3]);
  });
});
