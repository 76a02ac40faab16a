/** The end of a connection by the server: DISCONNECT with its reason code in MQTT 5, a closed connection without a packet in MQTT 3.1.1. */

import { DEFAULT_DEVICE_POLICY, ReasonCode } from '@rollcall/protocol';
import type { IDisconnectPacket } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import type { Credentials } from '../../test/fixtures/broker/certificates.ts';
import type { ConnectOptions, ProtocolVersion, RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { DEFAULT, device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

const dev1 = device('dev-1');
const TELEMETRY = 'devices/dev-1/telemetry/temp';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

interface Ended {
  readonly code: number;
  /** How the Reason String begins: the reason of the `disconnected` event, for programs. */
  readonly reason?: string;
  readonly options?: TestBrokerOptions;
  readonly connect?: Partial<ConnectOptions>;
  end(client: RawClient, credentials: Credentials): unknown;
}

let now = Date.now();

const ENDS: Readonly<Record<string, Ended>> = {
  'a revoked device (0x98)': {
    code: ReasonCode.administrativeAction,
    reason: 'device_revoked',
    end: () => {
      testBroker.revokeInRegistry(dev1);
      return testBroker.broker.disconnect(dev1, 'revoked');
    },
  },
  'a suspended device (0x98)': {
    code: ReasonCode.administrativeAction,
    end: () => testBroker.broker.disconnect(dev1, 'suspended'),
  },
  'an operator’s order (0x98)': {
    code: ReasonCode.administrativeAction,
    end: () => testBroker.broker.disconnect(dev1, 'operator'),
  },
  'a quarantine whose policy does not allow to connect (0x98)': {
    code: ReasonCode.administrativeAction,
    reason: 'device_quarantined',
    options: { policies: { 'quarantine/*': { ...DEFAULT_DEVICE_POLICY, connect: [] } } },
    end: () => testBroker.broker.reauthorize({ identity: dev1, group: DEFAULT, labels: {}, isQuarantined: true }),
  },
  'a server that stops and names another (0x9C)': {
    code: ReasonCode.useAnotherServer,
    reason: 'use_another_server',
    options: { serverReference: 'mqtt2.example.net:8883' },
    end: () => testBroker.broker.close(),
  },
  'a policy that does not allow the client id any more (0x87)': {
    code: ReasonCode.notAuthorized,
    reason: 'policy_changed',
    end: () => testBroker.setPolicy(`group/${DEFAULT}`, { ...DEFAULT_DEVICE_POLICY, connect: [] }),
  },
  'a second connection with the client id (0x8E)': {
    code: ReasonCode.sessionTakenOver,
    end: (_client, credentials) => testBroker.session(credentials, { clientId: 'dev-1', protocolVersion: 5 }),
  },
  'a second connection of MQTT 3.1.1 with the client id (0x8E)': {
    code: ReasonCode.sessionTakenOver,
    end: (_client, credentials) => testBroker.session(credentials, { clientId: 'dev-1' }),
  },
  'silence for one and a half times the keep-alive (0x8D)': {
    code: ReasonCode.keepAliveTimeout,
    connect: { keepalive: 1 },
    end: () => {},
  },
  'the end of the server (0x8B)': {
    code: ReasonCode.serverShuttingDown,
    end: () => void testBroker.broker.close(),
  },
  'more messages than its rate for too long (0x96)': {
    code: ReasonCode.messageRateTooHigh,
    options: { limits: { messagesPerSecond: 10, throttleTimeout: 0 }, now: () => ++now },
    end: (client) => {
      for (let n = 0; n < 40; n += 1) client.send({ cmd: 'pingreq' });
    },
  },
  'a packet above the maximum size (0x95)': {
    code: ReasonCode.packetTooLarge,
    options: { limits: { packet: 1_024 } },
    end: (client) => client.publish(TELEMETRY, 'x'.repeat(2_000), { qos: 1 }),
  },
  'a malformed packet (0x81)': {
    code: ReasonCode.malformedPacket,
    end: (client) => client.send(Buffer.from([0x36, 4, 0, 1, 0x61, 0])), // QoS 3
  },
  'a reserved packet type (0x81)': {
    code: ReasonCode.malformedPacket,
    end: (client) => client.send(Buffer.from([0x00, 0])),
  },
  'a SUBSCRIBE without a filter (0x82)': {
    code: ReasonCode.protocolError,
    end: (client) => client.send(Buffer.from(client.protocolVersion === 5 ? [0x82, 3, 0, 1, 0] : [0x82, 2, 0, 1])),
  },
  'a packet of the server (0x82)': {
    code: ReasonCode.protocolError,
    end: (client) => client.send(Buffer.from([0xd0, 0])), // PINGRESP
  },
};

const names = Object.keys(ENDS).filter((name) => !name.includes('MQTT 3.1.1'));

async function endOf(name: string, protocolVersion: ProtocolVersion): Promise<{ ended: Ended; client: RawClient }> {
  const ended = ENDS[name] as Ended;
  testBroker = await TestBroker.start(ended.options);
  const credentials = testBroker.enroll(dev1);
  const client = await testBroker.session(credentials, { clientId: 'dev-1', protocolVersion, ...ended.connect });
  await ended.end(client, credentials);
  return { ended, client };
}

describe('[3.14.2.1] with MQTT 5 the server sends DISCONNECT', () => {
  it.each(Object.keys(ENDS))('for %s, and closes the connection', async (name) => {
    const { ended, client } = await endOf(name, 5);
    const disconnect = (await client.disconnected()) as IDisconnectPacket;
    expect(disconnect?.reasonCode).toBe(ended.code);
    // `reason: a sentence`, for programs and for operators.
    expect(disconnect.properties?.reasonString).toMatch(/^[a-z_]+: \S.+/);
    if (ended.reason !== undefined) expect(disconnect.properties?.reasonString).toContain(`${ended.reason}: `);
    expect(disconnect.properties).not.toHaveProperty('sessionExpiryInterval'); // [MQTT-3.14.2-2]
    await client.closed;
    expect(client.packets.at(-1)).toBe(disconnect);
  });
});

describe('[MQTT-4.8.0-1, MQTT 3.1.1] with MQTT 3.1.1 the server sends nothing', () => {
  it.each(names)('for %s, and closes the connection', async (name) => {
    const { client } = await endOf(name, 4);
    await client.closed;
    expect(client.packets.filter(({ cmd }) => cmd !== 'pingresp').map(({ cmd }) => cmd)).toEqual(['connack']);
  });
});

describe('CONNACK with MQTT 5 names the reason', () => {
  const setState = (state: 'revoked' | 'suspended') => {
    if (state === 'revoked') testBroker.revokeInRegistry(dev1);
    for (const [serial, status] of testBroker.certificateStatuses) {
      if (status.state === 'good') testBroker.certificateStatuses.set(serial, { ...status, state: 'suspended' });
    }
  };

  // 0x98 is not a code of CONNACK (table 3-1).
  it.each<[string, number, string, () => void]>([
    ['a revoked device', ReasonCode.notAuthorized, 'device_revoked', () => setState('revoked')],
    ['a suspended device', ReasonCode.notAuthorized, 'device_suspended', () => setState('suspended')],
    [
      'a policy that does not allow the client id',
      ReasonCode.clientIdentifierNotValid,
      'client_id_not_allowed',
      () => testBroker.setPolicy(`group/${DEFAULT}`, { ...DEFAULT_DEVICE_POLICY, connect: [] }),
    ],
  ])('[3.2.2.2, 3.2.2.3.9] of %s', async (_name, code, word, change) => {
    testBroker = await TestBroker.start();
    const credentials = testBroker.enroll(dev1);
    change();
    const client = await testBroker.open(credentials);
    expect(await client.connect({ clientId: 'dev-1', protocolVersion: 5 })).toBe(code);
    expect(client.connack?.properties?.reasonString).toMatch(new RegExp(`^${word}: \\S`));
    await client.closed;
  });
});

it('[MQTT-4.13.1-1] a malformed packet ends the connection before anything of it is applied', async () => {
  testBroker = await TestBroker.start();
  const listener = await testBroker.connectService('listener', { protocolVersion: 5 });
  await listener.subscribe('devices/+/telemetry/+');
  const client = await testBroker.connectDevice('dev-1', { protocolVersion: 5 });
  // A whole PUBLISH with content type twice, then a good one in the same write.
  const body = Buffer.concat([
    Buffer.from([0, TELEMETRY.length]),
    Buffer.from(TELEMETRY),
    Buffer.from([8, 0x03, 0, 1, 0x61, 0x03, 0, 1, 0x62]),
    Buffer.from('payload'),
  ]);
  client.send(Buffer.concat([Buffer.from([0x30, body.length]), body]));
  await client.publish(TELEMETRY, 'after', { qos: 1 });
  expect((await client.disconnected())?.reasonCode).toBe(ReasonCode.protocolError);
  await client.closed;
  expect(testBroker.accepted).toEqual([]);
  expect((await listener.settled()).filter(({ cmd }) => cmd === 'publish')).toEqual([]);
  expect(await testBroker.event('disconnected', ({ clientId }) => clientId === 'dev-1')).toMatchObject({
    reason: 'protocol_violation',
  });
});
