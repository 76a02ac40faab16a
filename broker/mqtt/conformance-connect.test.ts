/** CONNECT, CONNACK and DISCONNECT through mTLS, clause by clause, in both versions. Statement numbers are those of MQTT 5 unless a case says otherwise. */

import { ReasonCode } from '@rollcall/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ConnectOptions, connectPacket } from '../../test/fixtures/broker/raw-client.ts';
import { messages } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
let now: number;
const SESSION_EXPIRY_MS = 600_000;

beforeEach(async () => {
  now = Date.now();
  testBroker = await TestBroker.start({
    now: () => now,
    limits: { keepalive: 60_000, sessionExpiry: SESSION_EXPIRY_MS, inflight: 20, packet: 4_096 },
  });
});
afterEach(() => testBroker.close());

const credentials = () => testBroker.enroll(device('dev-1'));
const v4 = (options: Partial<ConnectOptions> = {}): ConnectOptions => ({ clientId: 'dev-1', ...options });
const v5 = (options: Partial<ConnectOptions> = {}): ConnectOptions => ({ ...v4(options), protocolVersion: 5 });

interface Answered {
  readonly clause: string;
  readonly states: string;
  readonly connect: ConnectOptions;
  readonly code: number;
  readonly properties?: object;
}

describe('CONNECT is answered', () => {
  it.each<Answered>([
    { clause: 'MQTT-3.2.0-1, MQTT 3.1.1', states: 'with CONNACK', connect: v4(), code: 0 },
    {
      clause: 'MQTT-3.2.0-1',
      states: 'with the limits of the server',
      connect: v5(),
      code: 0,
      properties: { receiveMaximum: 20, maximumPacketSize: 4_096, topicAliasMaximum: 16 },
    },
    {
      clause: 'MQTT-3.1.3-7, MQTT-3.2.2-16',
      states: 'with the device id when the client id is empty',
      connect: v5({ clientId: '' }),
      code: 0,
      properties: { assignedClientIdentifier: 'dev-1' },
    },
    {
      clause: 'MQTT-3.1.3-8, MQTT 3.1.1',
      states: 'with a refusal of an empty client id',
      connect: v4({ clientId: '' }),
      code: 2,
    },
    {
      clause: 'MQTT-3.1.3-8',
      states: 'with a refusal of the client id of another device',
      connect: v5({ clientId: 'dev-2' }),
      code: ReasonCode.clientIdentifierNotValid,
    },
    {
      clause: 'MQTT-3.1.3-9, MQTT 3.1.1',
      states: 'with a refusal of the client id of another device',
      connect: v4({ clientId: 'dev-2' }),
      code: 2,
    },
    {
      clause: 'MQTT-4.12.0-1',
      states: 'with a refusal of an authentication method',
      connect: v5({ properties: { authenticationMethod: 'SCRAM-SHA-256' } }),
      code: ReasonCode.badAuthenticationMethod,
    },
    {
      clause: 'MQTT-3.2.2-21',
      states: 'with the keep-alive that applies when it is lower',
      connect: v5({ keepalive: 3_600 }),
      code: 0,
      properties: { serverKeepAlive: 60 },
    },
    {
      clause: '3.2.2.3.2',
      states: 'with the session expiry interval that applies when it is lower',
      connect: v5({ clean: false, properties: { sessionExpiryInterval: 0xffff_ffff } }),
      code: 0,
      properties: { sessionExpiryInterval: SESSION_EXPIRY_MS / 1_000 },
    },
  ])('[$clause] $states', async ({ connect, code, properties }) => {
    const client = await testBroker.open(credentials());
    expect(await client.connect(connect)).toBe(code);
    if (properties !== undefined) expect(client.connack?.properties).toMatchObject(properties);
    if (code !== 0) await client.closed;
  });

  it('[3.2.2.3] without what is at its default: no lower QoS, expiry or keep-alive, no assigned client id', async () => {
    const client = await testBroker.open(credentials());
    expect(await client.connect(v5({ keepalive: 30, properties: { sessionExpiryInterval: 60 } }))).toBe(0);
    const properties = client.connack?.properties ?? {};
    for (const absent of ['maximumQoS', 'serverKeepAlive', 'sessionExpiryInterval', 'assignedClientIdentifier']) {
      expect(properties).not.toHaveProperty(absent);
    }
    expect(properties).not.toMatchObject({ retainAvailable: false });
    expect(properties).not.toMatchObject({ sharedSubscriptionAvailable: false });
    expect(properties).not.toMatchObject({ subscriptionIdentifiersAvailable: false });
    expect(properties).not.toMatchObject({ wildcardSubscriptionAvailable: false });
  });

  it.each([
    ['3.1.1', v4(), 5],
    ['5', v5(), ReasonCode.notAuthorized],
  ] as const)('[MQTT-3.1.4-2] with a refusal without a certificate, in MQTT %s', async (_, connect, code) => {
    const client = await testBroker.open();
    expect(await client.connect(connect)).toBe(code);
    await client.closed;
  });

  it.each([3, 6, 0x84])('[MQTT-3.1.2-1, MQTT-3.1.2-2] with a refusal of protocol version %d', async (version) => {
    const client = await testBroker.open(credentials());
    client.send(
      Buffer.from([0x10, 17, 0, 4, ...Buffer.from('MQTT'), version, 2, 0, 60, 0, 5, ...Buffer.from('dev-1')]),
    );
    const connack = (await client.next()) as { returnCode?: number } | undefined;
    expect(connack?.returnCode).toBeOneOf([1, ReasonCode.unsupportedProtocolVersion]);
    await client.closed;
  });

  it.each([{ receiveMaximum: 0 }, { maximumPacketSize: 0 }])(
    '[MQTT-4.13.1-1] with a refusal of %j',
    async (property) => {
      const client = await testBroker.open(credentials());
      expect(await client.connect(v5({ properties: property }))).toBe(ReasonCode.protocolError);
      await client.closed;
    },
  );

  it('[MQTT-3.1.0-2] by the end of the connection when it is the second one', async () => {
    for (const connect of [v4(), v5()]) {
      const client = await testBroker.session(credentials(), connect);
      client.send(connectPacket(connect));
      expect((await client.disconnected())?.reasonCode).toBe(
        connect.protocolVersion === 5 ? ReasonCode.protocolError : undefined,
      );
      await client.closed;
    }
  });
});

describe('a session', () => {
  /** Session Present of a connection after one with these options has ended. */
  async function presentAfter(first: ConnectOptions, second: ConnectOptions, awayMs = 0): Promise<boolean | undefined> {
    const own = credentials();
    const client = await testBroker.session(own, first);
    await client.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    client.disconnect();
    await client.closed;
    now += awayMs;
    const again = await testBroker.session(own, second);
    return again.connack?.sessionPresent;
  }

  const keeps = { sessionExpiryInterval: 100 };
  it.each<[string, string, ConnectOptions, ConnectOptions, number, boolean]>([
    ['MQTT-3.1.2-5', 'is resumed within its expiry', v5({ properties: keeps }), v5({ clean: false }), 99_000, true],
    ['MQTT-4.1.0-2', 'ends after its expiry', v5({ properties: keeps }), v5({ clean: false }), 101_000, false],
    ['3.1.2.11.2', 'ends with its connection without an expiry', v5(), v5({ clean: false }), 0, false],
    ['MQTT-3.1.2-4', 'is discarded by Clean Start', v5({ properties: keeps }), v5({ clean: true }), 0, false],
    [
      'MQTT-3.1.2-4, MQTT 3.1.1',
      'is resumed without Clean Session',
      v4({ clean: false }),
      v4({ clean: false }),
      0,
      true,
    ],
    ['MQTT-3.1.2-6, MQTT 3.1.1', 'is discarded by Clean Session', v4({ clean: false }), v4({ clean: true }), 0, false],
    ['MQTT-3.2.2-3', 'of MQTT 3.1.1 is resumed by MQTT 5', v4({ clean: false }), v5({ clean: false }), 0, true],
    ['MQTT-3.2.2-3', 'of MQTT 5 is resumed by MQTT 3.1.1', v5({ properties: keeps }), v4({ clean: false }), 0, true],
    [
      '3.1.2.11.2',
      'lives no longer than the server allows',
      v5({ properties: { sessionExpiryInterval: 0xffff_ffff } }),
      v5({ clean: false }),
      SESSION_EXPIRY_MS + 1_000,
      false,
    ],
  ])('[%s] %s', async (_clause, _states, first, second, awayMs, present) => {
    expect(await presentAfter(first, second, awayMs)).toBe(present);
  });

  it('[MQTT-3.1.2-5] that was started by Clean Start is resumed later, since expiry decides', async () => {
    expect(await presentAfter(v5({ clean: true, properties: keeps }), v5({ clean: false }))).toBe(true);
  });

  it('[3.14.2.2.2] has the expiry of DISCONNECT, in both directions', async () => {
    const own = credentials();
    const present = async () => {
      const client = await testBroker.session(own, v5({ clean: false, properties: keeps }));
      return { client, present: client.connack?.sessionPresent };
    };
    const first = await present();
    first.client.disconnect({ reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
    await first.client.closed;
    const second = await present();
    expect(second.present).toBe(false);
    second.client.disconnect({ reasonCode: 0, properties: { sessionExpiryInterval: 300 } });
    await second.client.closed;
    now += 200_000;
    expect((await present()).present).toBe(true);
  });

  it('[3.14.2.2.2] cannot get an expiry in DISCONNECT when CONNECT had none', async () => {
    const client = await testBroker.session(credentials(), v5());
    client.disconnect({ reasonCode: 0, properties: { sessionExpiryInterval: 60 } });
    expect((await client.disconnected())?.reasonCode).toBe(ReasonCode.protocolError);
    await client.closed;
  });
});

describe('a will', () => {
  const will = { topic: 'devices/dev-1/events/gone', payload: 'bye', qos: 1 as const };

  async function afterEnd(connect: Partial<ConnectOptions>, reasonCode: number | undefined): Promise<string[]> {
    const listener = await testBroker.connectService('listener', { protocolVersion: 5 });
    await listener.subscribe('devices/+/events/+');
    const own = credentials();
    const client = await testBroker.session(own, v5({ will, ...connect }));
    if (reasonCode === undefined) client.destroy();
    else client.disconnect({ reasonCode });
    await testBroker.event('disconnected', ({ identity }) => JSON.stringify(identity).includes('dev-1'));
    const marker = await testBroker.session(own, v5());
    await marker.publish('devices/dev-1/events/marker', '', { qos: 1 });
    const heard: string[] = [];
    for (;;) {
      const packet = await listener.nextOf('publish');
      if (packet === undefined || packet.topic.endsWith('marker')) return heard;
      heard.push(...messages([packet]));
    }
  }

  it.each<[string, string, number | undefined, string[]]>([
    ['MQTT-3.14.4-3', 'is removed by DISCONNECT 0x00', 0, []],
    ['3.14.2.1', 'is published after DISCONNECT 0x04', ReasonCode.disconnectWithWill, [`${will.topic} bye`]],
    ['MQTT-3.1.2-8', 'is published when the connection breaks', undefined, [`${will.topic} bye`]],
  ])('[%s] %s', async (_clause, _states, reasonCode, heard) => {
    expect(await afterEnd({}, reasonCode)).toEqual(heard);
  });

  it('[MQTT-3.1.3-9] with a delay is not published when the client resumes its session in time', async () => {
    const delayed = { will: { ...will, properties: { willDelayInterval: 60 } } };
    const listener = await testBroker.connectService('listener', { protocolVersion: 5 });
    await listener.subscribe('devices/+/events/+');
    const own = credentials();
    const options = v5({ clean: false, properties: keepsFor(300) });
    const client = await testBroker.session(own, { ...options, ...delayed });
    client.destroy();
    await testBroker.event('disconnected');
    const again = await testBroker.session(own, options);
    await again.publish('devices/dev-1/events/marker', '', { qos: 1 });
    expect(await listener.nextOf('publish')).toMatchObject({ topic: 'devices/dev-1/events/marker' });
  });

  it('[MQTT-3.1.3-9, 3.1.3.2.2] with a delay is published when its session ends first', async () => {
    const delayed = { will: { ...will, properties: { willDelayInterval: 60 } } };
    // Without a session expiry the session ends with the connection.
    expect(await afterEnd(delayed, undefined)).toEqual([`${will.topic} bye`]);
  });

  it('[3.1.3.2] carries its properties, and not its delay', async () => {
    const listener = await testBroker.connectService('listener', { protocolVersion: 5 });
    await listener.subscribe('devices/+/events/+');
    const properties = {
      willDelayInterval: 0,
      payloadFormatIndicator: true,
      messageExpiryInterval: 120,
      contentType: 'text/plain',
      responseTopic: 'a/b',
      correlationData: Buffer.from('c'),
      userProperties: { site: 'north' },
    };
    const client = await testBroker.session(credentials(), v5({ will: { ...will, properties } }));
    client.destroy();
    const { willDelayInterval: _, ...sent } = properties;
    const received = await listener.nextOf('publish');
    expect(received).toMatchObject({ topic: will.topic, properties: sent });
    expect(received?.properties).not.toHaveProperty('willDelayInterval');
  });
});

function keepsFor(seconds: number) {
  return { sessionExpiryInterval: seconds };
}
