/** The agent's MQTT listener with the client `mqtt` (npm) in both versions, and with packets that no client sends. */

import { type EventEmitter, once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import type { DeviceId } from '@rollcall/protocol';
import { connectAsync, type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { manualTime } from '../../test/fixtures/manual-time.ts';
import type { Command } from '../commands.ts';
import { DeviceError } from '../device-error.ts';
import type { TelemetryOptions } from '../device-options.ts';
import { SILENT_LOG } from '../device-state.ts';
import { CommandQueue } from './command-queue.ts';
import { startMqttListener } from './mqtt-listener.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Published {
  readonly to: string;
  readonly payload: string;
  readonly options: TelemetryOptions;
}

async function startAgent({ fails, isEnrolled = true }: { fails?: DeviceError; isEnrolled?: boolean } = {}) {
  const published: Published[] = [];
  const publish = async (to: string, payload: unknown, options: TelemetryOptions) => {
    published.push({ to, payload: String(payload), options });
    if (fails !== undefined && to === 'telemetry full') throw fails;
    return { key: '1.a', acknowledged: Promise.resolve() };
  };
  const commandQueue = new CommandQueue({ timeout: 60_000, schedule: manualTime(0).schedule });
  const listener = await startMqttListener({
    address: { host: '127.0.0.1', port: 0 },
    device: {
      id: isEnrolled ? ('dev-7' as DeviceId) : undefined,
      publish: (stream, payload, options) => publish(`telemetry ${stream}`, payload, options),
      publishEvent: (type, payload, options) => publish(`event ${type}`, payload, options),
    },
    commandQueue,
    log: SILENT_LOG,
  });
  cleanups.push(() => listener.close());
  return { listener, port: listener.port, commandQueue, published };
}

async function connect(port: number, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0, ...options }, false);
  client.on('error', () => {});
  cleanups.push(() => client.endAsync(true));
  return client;
}

/** Its own type is none that `once` knows. */
const emitter = (client: MqttClient) => client as unknown as EventEmitter;

/** The packets that the listener answers before it closes the connection. */
function converse(port: number, version: number, ...packets: readonly (Packet | Buffer)[]): Promise<readonly Packet[]> {
  return new Promise((resolve) => {
    const answers: Packet[] = [];
    const parser = mqttPacket.parser({ protocolVersion: version });
    parser.on('packet', (packet) => answers.push(packet));
    const socket = connectTcp(port, '127.0.0.1', () => {
      for (const packet of packets) {
        socket.write(
          Buffer.isBuffer(packet) ? packet : mqttPacket.generate(packet as Packet, { protocolVersion: version }),
        );
      }
    });
    socket.on('data', (bytes) => parser.parse(bytes));
    socket.on('error', () => {});
    socket.once('close', () => resolve(answers));
    cleanups.push(() => socket.destroy());
  });
}

const connectPacket = (protocolVersion: 4 | 5, rest: object = {}): Packet => ({
  ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion, clientId: 'app', clean: true, keepalive: 0 },
  ...rest,
});
const publishPacket = (topic: string, rest: object = {}): Packet => ({
  ...{ cmd: 'publish', topic, payload: 'x', qos: 1, messageId: 1, dup: false, retain: false },
  ...rest,
});

function command(requestId: string): Command {
  const { signal } = new AbortController();
  return {
    ...{ name: 'reboot', requestId, payload: Buffer.from('{}'), json: () => ({}), signal },
    ...{ contentType: 'application/json', userProperties: [['by', 'operator']], correlationData: Buffer.from([0, 1]) },
  };
}

describe.each([4, 5] as const)('an application with protocol level %i', (protocolVersion) => {
  it('publishes telemetry, keys and events as the device', async () => {
    const { port, published } = await startAgent();
    const client = await connect(port, { protocolVersion });
    await client.publishAsync('telemetry/level', '1', { qos: 1 });
    await client.publishAsync('devices/dev-7/telemetry/level/k-1', '2', { qos: 1 });
    await client.publishAsync('events/started', '3', { qos: 1 });
    expect(published).toEqual([
      { to: 'telemetry level', payload: '1', options: { qos: 1 } },
      { to: 'telemetry level', payload: '2', options: { qos: 1, key: 'k-1' } },
      { to: 'event started', payload: '3', options: { qos: 1 } },
    ]);
  });

  it('takes commands and answers them', async () => {
    const { port, commandQueue } = await startAgent();
    const client = await connect(port, { protocolVersion });
    await client.subscribeAsync('commands/#', { qos: 1 });
    const received = once(emitter(client), 'message');
    const answer = commandQueue.post(command('r1'));
    const [topic, payload, packet] = (await received) as [string, Buffer, IPublishPacket];
    expect([topic, payload.toString()]).toEqual(['commands/reboot/r1', '{}']);
    if (protocolVersion === 5) {
      expect(packet.properties).toMatchObject({
        ...{ responseTopic: 'responses/r1', contentType: 'application/json', correlationData: Buffer.from([0, 1]) },
        userProperties: { by: 'operator' },
      });
    }
    await client.publishAsync(packet.properties?.responseTopic ?? 'responses/r1', 'done', { qos: 1 });
    expect(String(await answer)).toBe('done');
  });

  it('may subscribe to commands alone', async () => {
    const { port } = await startAgent();
    const answers = await converse(
      ...([port, protocolVersion] as const),
      connectPacket(protocolVersion),
      {
        ...{ cmd: 'subscribe', messageId: 5 },
        subscriptions: [
          { topic: 'commands/reboot/+', qos: 1 },
          { topic: 'telemetry/#', qos: 1 },
          { topic: '$share/group/commands/#', qos: 1 },
        ],
      } as Packet,
      { cmd: 'unsubscribe', messageId: 6, unsubscriptions: ['commands/reboot/+', 'never'] },
      { cmd: 'disconnect' },
    );
    expect(answers.map(({ cmd }) => cmd)).toEqual(['connack', 'suback', 'unsuback']);
    expect(answers[1]).toMatchObject({ granted: protocolVersion === 5 ? [0, 0x87, 0x9e] : [0, 0x80, 0x80] });
    if (protocolVersion === 5) expect(answers[2]).toMatchObject({ granted: [0, 0x11] });
  });

  it('is told when it brings a will, or the device is not enrolled', async () => {
    const { port } = await startAgent();
    const will = { topic: 'w', payload: Buffer.from('gone'), qos: 0, retain: false };
    const [refused] = await converse(port, protocolVersion, connectPacket(protocolVersion, { will }));
    expect(refused).toMatchObject(protocolVersion === 5 ? { reasonCode: 0x83 } : { returnCode: 3 });
    const early = await startAgent({ isEnrolled: false });
    const [answer] = await converse(early.port, protocolVersion, connectPacket(protocolVersion));
    expect(answer).toMatchObject(protocolVersion === 5 ? { reasonCode: 0x88 } : { returnCode: 3 });
  });
});

describe('an application with MQTT 5', () => {
  it('is told what the listener has', async () => {
    const { port } = await startAgent();
    const [connack] = await converse(
      ...([port, 5] as const),
      connectPacket(5, { clientId: '', properties: { sessionExpiryInterval: 60 } }),
      { cmd: 'disconnect' },
    );
    expect(connack).toMatchObject({
      ...{ cmd: 'connack', reasonCode: 0, sessionPresent: false },
      properties: {
        ...{ receiveMaximum: 64, maximumQoS: 1, retainAvailable: false, sessionExpiryInterval: 0 },
        ...{ maximumPacketSize: 256 * 1024, assignedClientIdentifier: expect.any(String) },
        ...{ subscriptionIdentifiersAvailable: false, sharedSubscriptionAvailable: false },
      },
    });
  });

  it('passes its properties on with the message', async () => {
    const { port, published } = await startAgent();
    const client = await connect(port, { protocolVersion: 5 });
    const userProperties = { site: 'north' };
    const properties = { contentType: 'text/plain', messageExpiryInterval: 60, payloadFormatIndicator: true };
    await client.publishAsync('telemetry/level', '1', { qos: 1, properties: { ...properties, userProperties } });
    expect(published[0]?.options).toEqual({
      ...{ qos: 1, contentType: 'text/plain', messageExpiry: 60, payloadFormatIndicator: 1 },
      userProperties: [['site', 'north']],
    });
  });

  it('stays connected when a message is refused, and is told why', async () => {
    const { port, published } = await startAgent({ fails: new DeviceError('outbox_full', { reason: '3 messages' }) });
    const notText = { payload: Buffer.from([0xff]), properties: { payloadFormatIndicator: true } };
    const answers = await converse(
      ...([port, 5] as const),
      connectPacket(5),
      publishPacket('telemetry/full', { messageId: 1 }),
      publishPacket('somewhere', { messageId: 2 }),
      publishPacket('telemetry/level', { messageId: 3, ...notText }),
      publishPacket('responses/nobody', { messageId: 4 }),
      publishPacket('telemetry/level', { messageId: 5 }),
      { cmd: 'disconnect' },
    );
    const acknowledgements = answers.filter(({ cmd }) => cmd === 'puback');
    expect(acknowledgements.map((packet) => [packet.messageId, (packet as { reasonCode: number }).reasonCode])).toEqual(
      [
        ...[
          [1, 0x97],
          [2, 0x90],
          [3, 0x99],
          [4, 0x10],
          [5, 0],
        ],
      ],
    );
    expect(acknowledgements[0]).toMatchObject({
      properties: { reasonString: expect.stringContaining('outbox_full: ') },
    });
    expect(published.map(({ to }) => to)).toEqual(['telemetry full', 'telemetry level']);
  });

  it.each([
    ['QoS 2', publishPacket('telemetry/level', { qos: 2 }), 0x9b],
    ['a retained message', publishPacket('telemetry/level', { retain: true }), 0x9a],
    ['a topic alias', publishPacket('telemetry/level', { properties: { topicAlias: 1 } }), 0x94],
    ['a second CONNECT', connectPacket(5), 0x82],
    [
      'a subscription identifier',
      {
        ...{ cmd: 'subscribe', messageId: 5, subscriptions: [{ topic: 'commands/#', qos: 0 }] },
        properties: { subscriptionIdentifier: 1 },
      } as Packet,
      0xa1,
    ],
    ['a packet over the limit', Buffer.from([0x30, 0xff, 0xff, 0x7f]), 0x95],
    ['a malformed packet', Buffer.from([0x30, 0x02, 0x00, 0x05]), 0x81],
    ['AUTH', Buffer.from([0xf0, 0x00]), 0x82],
  ])('is disconnected with the reason code for %s', async (_what, packet, reasonCode) => {
    const { port } = await startAgent();
    const answers = await converse(port, 5, connectPacket(5), packet);
    expect(answers.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode });
  });

  it('is disconnected when it sends more than the receive maximum', async () => {
    const { port } = await startAgent();
    const messages = Array.from({ length: 65 }, (_, index) =>
      mqttPacket.generate(publishPacket('telemetry/level', { messageId: index + 1 }), { protocolVersion: 5 }),
    );
    const answers = await converse(port, 5, connectPacket(5), Buffer.concat(messages));
    expect(answers.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 });
  });

  it('gets no command that is larger than it takes: another application does', async () => {
    const { port, commandQueue } = await startAgent();
    const small = await connect(port, { protocolVersion: 5, properties: { maximumPacketSize: 60 } });
    await small.subscribeAsync('commands/#');
    small.on('message', () => expect.unreachable());
    const large = await connect(port, { protocolVersion: 5 });
    await large.subscribeAsync('commands/#');
    const received = once(emitter(large), 'message');
    commandQueue.post(command('r1')).catch(() => {});
    expect((await received)[0]).toBe('commands/reboot/r1');
  });

  it('is told that the agent ends', async () => {
    const { port, listener } = await startAgent();
    const client = await connect(port, { protocolVersion: 5 });
    const told = once(emitter(client), 'disconnect');
    await listener.close();
    expect((await told)[0]).toMatchObject({ reasonCode: 0x8b });
  });

  it('with an authentication method is refused', async () => {
    const { port } = await startAgent();
    const properties = { authenticationMethod: 'SCRAM' };
    const [answer] = await converse(port, 5, connectPacket(5, { properties }));
    expect(answer).toMatchObject({ reasonCode: 0x8c });
  });
});

it('an application with an older protocol gets CONNACK 1', async () => {
  const { port } = await startAgent();
  const older = {
    ...{ cmd: 'connect', protocolId: 'MQIsdp', protocolVersion: 3, clientId: 'a', clean: true, keepalive: 0 },
  } as Packet;
  expect(await converse(port, 3, older)).toMatchObject([{ cmd: 'connack', returnCode: 1 }]);
});

it.each([
  ['a message that could not be stored', publishPacket('telemetry/full')],
  ['another topic', publishPacket('somewhere', { qos: 0 })],
  ['QoS 2', publishPacket('telemetry/level', { qos: 2 })],
])('the connection of MQTT 3.1.1 ends without an answer for %s', async (_what, packet) => {
  const { port } = await startAgent({ fails: new DeviceError('outbox_full') });
  expect((await converse(port, 4, connectPacket(4), packet)).map(({ cmd }) => cmd)).toEqual(['connack']);
});
