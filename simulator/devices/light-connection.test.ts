/** A light connection against a broker that is scripted packet by packet, over TLS. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import {
  encodeConnack,
  encodeDisconnect,
  encodePuback,
  encodeSuback,
  type MqttVersion,
  type PacketProperties,
  PacketReader,
  type ReceivedPacket,
} from '@rollcall/device-sdk/mqtt-codec';
import { ReasonCode } from '@rollcall/protocol';
import { afterAll, expect, onTestFinished } from 'vitest';
import { testsWithClients } from '../../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../../test/fixtures/scripted-authority.ts';
import { readScenario } from '../scenario/read.ts';
import { FLEET_NAMES } from './broker-names.ts';
import { Counters } from './counters.ts';
import { LightConnection, type LightConnectionEvents } from './light-connection.ts';
import { DEFAULT_SDK_SETTINGS, type GroupContext, type ShardContext } from './shard-context.ts';
import { preciseNow, TimerWheel } from './timer-wheel.ts';
import { TlsConnector } from './tls-connections.ts';

const { describe, it } = testsWithClients('simulator/devices/light-connection.test.ts', ['openssl']);
const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());

/** First byte of the packet. */
const DISCONNECT = 0xe0;

type Answer = (packet: ReceivedPacket, version: MqttVersion) => readonly Buffer[];

interface Opened {
  readonly connection: LightConnection;
  readonly counters: Counters;
  readonly received: readonly ReceivedPacket[];
  /** Resolves with the first event of this name. */
  event(name: keyof LightConnectionEvents): Promise<readonly unknown[]>;
}

async function open(version: MqttVersion, answer: Answer, settings = ''): Promise<Opened> {
  const { keyPem, certificatePem } = authority.server;
  const received: ReceivedPacket[] = [];
  const sockets = new Set<TLSSocket>();
  const server = createServer({ key: keyPem, cert: certificatePem }, (socket) => {
    const reader = new PacketReader({ version: undefined, maxBytes: 100_000 });
    sockets.add(socket.on('error', () => {}));
    socket.on('data', (bytes: Buffer) =>
      reader.read(bytes, (packet) => {
        received.push(packet);
        for (const reply of answer(packet, reader.version as MqttVersion)) {
          socket.write(reply);
          if (reply[0] === DISCONNECT) socket.end();
        }
      }),
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const counters = new Counters();
  const timers = new TimerWheel(() => {});
  onTestFinished(() => {
    timers.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const connector = new TlsConnector(authority.rootPem);
  const context: ShardContext = {
    ...{ timers, counters, connector, now: preciseNow, serverReturnedAt: 0, isRunOver: false },
    names: FLEET_NAMES,
    pacer: { succeeded: () => {}, throttled: () => {} },
    sdk: DEFAULT_SDK_SETTINGS,
  };
  const read = readScenario(`name: a\nduration: 1h\ndevices: { d: { count: 1${settings} } }`, {
    fileExists: () => false,
  });
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws));
  const group: GroupContext = {
    ...{ name: 'd', settings: read.scenario.devices.d as GroupContext['settings'], token: undefined },
    ...{ estClient: undefined, recordings: new Map(), faults: [] },
    target: () => ({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, servername: 'localhost' }),
  };
  const waiting = new Map<string, PromiseWithResolvers<readonly unknown[]>>();
  const event = (name: string) => {
    const found = waiting.get(name) ?? Promise.withResolvers<readonly unknown[]>();
    waiting.set(name, found);
    return found;
  };
  const tell =
    (name: keyof LightConnectionEvents) =>
    (...values: readonly unknown[]) =>
      event(name).resolve(values);
  const connection = new LightConnection(
    { id: 'dev-1', group, version, identity: undefined, session: undefined, sourceAddress: undefined },
    {
      ...{ connected: tell('connected'), refused: tell('refused'), acknowledged: tell('acknowledged') },
      ...{ session: () => {}, lost: tell('lost') },
    },
    context,
  );
  onTestFinished(() => connection.close());
  return { connection, counters, received, event: (name) => event(name).promise };
}

const accepts =
  (properties: PacketProperties = {}, more: Answer = () => []): Answer =>
  (packet, version) =>
    packet.kind === 'connect'
      ? [encodeConnack(version, { sessionPresent: true, reasonCode: 0, properties }), ...more(packet, version)]
      : more(packet, version);

describe('a light connection', () => {
  it.each([
    [5, { sessionExpiryInterval: 3_600 }],
    [4, undefined],
  ] as const)('with protocol level %i asks for its session, and has a will', async (version, properties) => {
    const settings = ', sessionExpiry: 1h, will: { stream: status, payload: gone, delay: 5s }';
    const { received, event } = await open(version, accepts({ receiveMaximum: 7 }), settings);
    const receiveMaximum = version === 5 ? 7 : 65_535;
    expect((await event('connected'))[1]).toEqual({ isResumed: true, receiveMaximum });
    expect(received[0]).toMatchObject({
      kind: 'connect',
      version,
      clientId: 'dev-1',
      cleanStart: false,
      hasWill: true,
    });
    expect((received[0] as { properties?: unknown }).properties).toEqual(properties);
  });

  it.each([
    [4, 5, 'not_authorized'],
    [4, 1, 'unsupported_protocol_version'],
    [4, 3, 'server_unavailable'],
    [5, ReasonCode.notAuthorized, 'not_authorized'],
    [5, ReasonCode.quotaExceeded, 'quota_exceeded'],
  ] as const)('with protocol level %i that CONNACK %i refuses counts it as %s', async (version, code, name) => {
    const refuses: Answer = (_, asked) => [encodeConnack(asked, { sessionPresent: false, reasonCode: code })];
    const { event, counters } = await open(version, refuses);
    expect(await event('refused')).toEqual([`connack_${name}`]);
    expect(counters.take().reasons).toEqual({ [`connack_${name}`]: 1 });
  });

  it('that the broker ends names the reason of its DISCONNECT', async () => {
    const ends = accepts({}, (_, version) => [encodeDisconnect(version, ReasonCode.sessionTakenOver)]);
    const { event, counters } = await open(5, ends);
    expect(await event('lost')).toEqual(['disconnect_session_taken_over']);
    expect(counters.take().reasons).toEqual({ disconnect_session_taken_over: 1 });
  });

  it('passes on the reason code of PUBACK, and counts filters that SUBACK refuses', async () => {
    const answers = accepts({}, (packet, version) => {
      if (packet.kind !== 'subscribe') return [];
      return [
        encodeSuback(version, packet.packetId, [ReasonCode.notAuthorized]),
        encodePuback(version, 3, ReasonCode.quotaExceeded),
      ];
    });
    const { event, counters } = await open(5, answers, ', commands: { reboot: {} }');
    expect(await event('acknowledged')).toEqual([3, ReasonCode.quotaExceeded]);
    expect(counters.take().reasons).toEqual({ suback_not_authorized: 1 });
  });

  it('sends PINGREQ as often as the server asks for, in place of its own keep alive', async () => {
    const pinged = Promise.withResolvers<void>();
    const answers = accepts({ serverKeepAlive: 1 }, (packet) => {
      if (packet.kind === 'pingreq') pinged.resolve();
      return [];
    });
    await open(5, answers, ', keepalive: 1h');
    await pinged.promise;
  });

  it('ends its session with the run, if it asked the broker to store one', async () => {
    const { connection, received, event } = await open(5, accepts(), ', sessionExpiry: 1h');
    await event('connected');
    await connection.close();
    expect(received.at(-1)).toMatchObject({ kind: 'disconnect', properties: { sessionExpiryInterval: 0 } });
  });
});
