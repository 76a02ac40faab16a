/** A device with a broker that speaks MQTT 5: what the broker announces and the reasons that it gives. The broker's packets are mqtt-packet's. */

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TLSSocket } from 'node:tls';
import mqttPacket, { type IConnectPacket, type IPublishPacket, type Packet } from 'mqtt-packet';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { Device } from './device.ts';
import type { DeviceError } from './device-error.ts';
import type { DeviceOptions } from './device-options.ts';
import { enrollOnce } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import { type IdentityStore, memoryIdentityStore } from './identity-store.ts';

const { describe, it } = testsWithClients('device-sdk/mqtt5.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
const DEVICE = 'dev-7';
let store: IdentityStore;
beforeAll(async () => {
  const est = await startScriptedEstServer(authority);
  store = memoryIdentityStore();
  await enrollOnce(store, { token: est.token(), deviceId: DEVICE });
  await est.close();
});
afterAll(() => authority.dispose());

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** What the broker sends, after each packet of the device. */
type Script = (packet: Packet, connection: number) => readonly Packet[] | 'close';

interface Broker {
  readonly url: string;
  /** Everything that devices sent, in order. */
  readonly received: readonly Packet[];
  send(packet: Packet): void;
}

const connack = (properties = {}, reasonCode = 0): Packet => ({
  ...{ cmd: 'connack', sessionPresent: false, reasonCode, properties },
});
const puback = (packet: Packet, reasonCode = 0, reasonString?: string): Packet =>
  ({
    ...{ cmd: 'puback', messageId: packet.messageId, reasonCode },
    ...(reasonString !== undefined && { properties: { reasonString } }),
  }) as Packet;

/** Accepts and acknowledges everything. */
const friendly: Script = (packet) => {
  if (packet.cmd === 'connect') return [connack()];
  if (packet.cmd === 'publish' && packet.qos === 1) return [puback(packet)];
  if (packet.cmd === 'pingreq') return [{ cmd: 'pingresp' }];
  return [];
};

async function startBroker(script: Script): Promise<Broker> {
  const { keyPem, certificatePem } = authority.server;
  const received: Packet[] = [];
  let connections = 0;
  let last: { socket: TLSSocket; version: number } | undefined;
  const generate = (packet: Packet, version: number) =>
    mqttPacket.generate((packet.cmd === 'connack' ? { ...packet, returnCode: packet.reasonCode } : packet) as Packet, {
      protocolVersion: version,
    });
  const server = createServer(
    { key: keyPem, cert: certificatePem, ca: [authority.rootPem, authority.issuingPem], requestCert: true },
    (socket) => {
      const connection = connections++;
      const parser = mqttPacket.parser({ protocolVersion: 5 });
      let version = 5;
      parser.on('packet', (packet) => {
        received.push(packet);
        if (packet.cmd === 'connect') version = packet.protocolVersion as number;
        last = { socket, version };
        const answers = script(packet, connection);
        if (answers === 'close') socket.destroy();
        else for (const answer of answers) socket.write(generate(answer, version));
      });
      parser.on('error', () => socket.destroy());
      socket.on('error', () => {});
      socket.on('data', (bytes) => parser.parse(bytes));
      cleanups.push(() => socket.destroy());
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return {
    url: `mqtts://localhost:${(server.address() as AddressInfo).port}`,
    received,
    send: (packet) => last?.socket.write(generate(packet, last.version)),
  };
}

async function open(broker: Broker, options: Partial<DeviceOptions> = {}): Promise<Device> {
  const device = await Device.open({ store, mqttUrl: broker.url, random: () => 0, ...options } as DeviceOptions);
  cleanups.push(() => device.close());
  return device;
}

/** The error of the next `recovering`. */
function untilRecovering(device: Device): Promise<DeviceError | undefined> {
  return new Promise((resolve) => {
    const forget = device.onState((state, error) => {
      if (state !== 'recovering') return;
      forget();
      resolve(error);
    });
  });
}

const connects = ({ received }: Broker) => received.filter(({ cmd }) => cmd === 'connect') as IConnectPacket[];
const payloads = ({ received }: Broker) =>
  received.filter(({ cmd }) => cmd === 'publish').map((packet) => (packet as IPublishPacket).payload.toString());

describe('the version', () => {
  it('is 5 with a broker that knows it, and the session lasts as long as the application says', async () => {
    const broker = await startBroker(friendly);
    const device = await open(broker, { sessionExpiry: 3_600 });
    await device.connected();
    expect(connects(broker)).toMatchObject([
      { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3_600 } },
    ]);
  });

  it('is 3.1.1 with a broker that answers CONNACK 1, at once and from then on', async () => {
    const broker = await startBroker((packet, connection) => {
      if (packet.cmd === 'connect' && packet.protocolVersion === 5) return [connack({}, 1)];
      if (packet.cmd === 'publish' && connection < 3) return 'close';
      return friendly(packet, connection);
    });
    const device = await open(broker);
    await (await device.publish('readings', 1)).acknowledged;
    expect(connects(broker).map(({ protocolVersion }) => protocolVersion)).toEqual([5, 4, 4, 4]);
  });

  it('is 3.1.1 with a broker that closes the connection on MQTT 5', async () => {
    const broker = await startBroker((packet, connection) =>
      packet.cmd === 'connect' && packet.protocolVersion === 5 ? 'close' : friendly(packet, connection),
    );
    const device = await open(broker);
    await device.connected();
    expect(connects(broker).map(({ protocolVersion }) => protocolVersion)).toEqual([5, 4]);
  });

  it('returns to 5 when a broker that closed the connection does so with 3.1.1 as well', async () => {
    const broker = await startBroker((packet, connection) => (connection < 2 ? 'close' : friendly(packet, connection)));
    const device = await open(broker);
    await device.connected();
    expect(connects(broker).map(({ protocolVersion }) => protocolVersion)).toEqual([5, 4, 5]);
  });

  it('is the one that the application chose', async () => {
    const broker = await startBroker(friendly);
    const device = await open(broker, { mqttVersion: '3.1.1' });
    await device.connected();
    expect(connects(broker)).toMatchObject([{ protocolVersion: 4 }]);
    await expect(open(broker, { mqttVersion: '4' as never })).rejects.toMatchObject({ code: 'request_invalid' });
  });
});

describe('a broker that ends the connection', () => {
  const disconnect = (reasonCode: number, reasonString?: string): Packet => ({
    ...{ cmd: 'disconnect', reasonCode, properties: reasonString === undefined ? {} : { reasonString } },
  });

  it.each([
    [0x98, 'device_revoked: this device was revoked', 'connection_refused', 'device_revoked', 30_000],
    [0x98, 'device_suspended: this device is suspended', 'connection_refused', 'device_suspended', 30_000],
    [0x8e, undefined, 'connection_lost', 'session_taken_over', 30_000],
    [0x97, 'slow_consumer: messages were not read', 'connection_lost', 'slow_consumer', 30_000],
    [0x8b, 'server_shutdown: the server stops', 'connection_lost', 'server_shutdown', 0],
    [0x98, 'operator: an operator ended the session', 'connection_lost', 'operator', 0],
    [0x87, 'policy_changed: the policy changed', 'connection_lost', 'policy_changed', 0],
    [0x9c, undefined, 'connection_lost', 'use_another_server', 0],
  ])('with %i %s is understood', async (reasonCode, reasonString, code, word, wait) => {
    const waits: unknown[] = [];
    const log = {
      debug: () => {},
      info: () => {},
      warn: (fields: object) => waits.push((fields as { wait?: number }).wait),
    };
    const broker = await startBroker(friendly);
    const device = await open(broker, { log });
    await device.connected();
    expect(device.mqttVersion).toBe('5');
    const lost = untilRecovering(device);
    broker.send(disconnect(reasonCode, reasonString));
    expect(await lost).toMatchObject({
      ...{ code, serverReason: word, reasonCode, message: expect.stringContaining(reasonString ?? word) },
    });
    expect(waits).toContain(wait);
  });

  it('asks for no certificate after a suspension, and for one after a revocation', async () => {
    const broker = await startBroker(friendly);
    const due: number[] = [];
    const schedule = (milliseconds: number, action: () => void) => {
      due.push(milliseconds);
      const timer = setTimeout(action, milliseconds).unref();
      return () => clearTimeout(timer);
    };
    for (const [text, expected] of [
      ['device_suspended: stays', false],
      ['device_revoked: goes', true],
    ] as const) {
      const device = await open(broker, { schedule, random: () => 0.5 });
      await device.connected();
      const lost = untilRecovering(device);
      due.length = 0;
      broker.send(disconnect(0x98, text));
      await lost;
      await expect.poll(() => due.length).toBeGreaterThan(0);
      // Half of the time in which a refused device renews.
      if (expected) await expect.poll(() => due).toContain(15_000);
      else expect(due, text).not.toContain(15_000);
      await device.close();
    }
  });

  it('in CONNACK is understood as well', async () => {
    const refusing = await startBroker(() => [
      connack({ reasonString: 'superseded: a newer certificate was used' }, 0x87),
    ]);
    const device = await open(refusing);
    await expect(device.connected()).rejects.toMatchObject({ code: 'connection_refused', serverReason: 'superseded' });
    const busy = await startBroker(() => [connack({}, 0x89)]);
    const patient = await open(busy);
    expect(await untilRecovering(patient)).toMatchObject({ code: 'connection_lost', serverReason: 'server_busy' });
  });

  it('is told the reason when it sends what it may not', async () => {
    const broker = await startBroker(friendly);
    const device = await open(broker);
    await device.connected();
    const lost = untilRecovering(device);
    broker.send({
      cmd: 'publish',
      topic: '',
      payload: 'x',
      qos: 0,
      dup: false,
      retain: false,
      properties: { topicAlias: 1 },
    });
    expect(await lost).toMatchObject({ code: 'connection_lost', message: expect.stringContaining('topic alias') });
    expect(broker.received.find(({ cmd }) => cmd === 'disconnect')).toMatchObject({ reasonCode: 0x94 });
  });
});

describe('a message that the broker refuses', () => {
  it.each([
    [0x87, 'not_authorized'],
    [0x97, 'quota_exceeded'],
    [0x99, 'payload_format_invalid'],
  ])('with %i is given up with a word, counted and told, and the queue goes on', async (reasonCode, word) => {
    const broker = await startBroker((packet, connection) =>
      packet.cmd === 'publish' && packet.payload.toString() === 'bad'
        ? [puback(packet, reasonCode)]
        : friendly(packet, connection),
    );
    const warnings: object[] = [];
    const refusals: string[] = [];
    const device = await open(broker, {
      log: { debug: () => {}, info: () => {}, warn: (fields, phrase) => warnings.push({ phrase, ...fields }) },
      onRefused: (topic, error) => refusals.push(`${topic} ${error.serverReason}`),
      messageKeys: 'none',
    });
    const bad = device.publish('readings', 'bad');
    const good = device.publish('readings', 'good');
    await expect(bad).rejects.toMatchObject({ code: 'message_refused', serverReason: word, reasonCode });
    await good;
    expect(device.queue).toMatchObject({ messages: 0, refused: 1 });
    expect(refusals).toEqual([`devices/${DEVICE}/telemetry/readings ${word}`]);
    expect(warnings).toMatchObject([{ phrase: 'message refused', code: 'message_refused', serverReason: word }]);
    expect(payloads(broker)).toEqual(['bad', 'good']);
    expect(connects(broker)).toHaveLength(1);
  });

  it('for a reason that may pass is sent again over the next connection', async () => {
    const broker = await startBroker((packet, connection) =>
      packet.cmd === 'publish' && connection === 0
        ? [puback(packet, 0x80, 'storage_failed: the disk is full')]
        : friendly(packet, connection),
    );
    const device = await open(broker);
    const lost = untilRecovering(device);
    const sent = device.publish('readings', 1);
    expect((await lost)?.message).toContain('storage_failed');
    await sent;
    expect(payloads(broker)).toEqual(['1', '1']);
    expect(device.queue.refused).toBe(0);
  });

  it('is not sent when it is larger than the broker takes', async () => {
    const broker = await startBroker((packet, connection) =>
      packet.cmd === 'connect' ? [connack({ maximumPacketSize: 200 })] : friendly(packet, connection),
    );
    const device = await open(broker);
    await device.connected();
    const [large, small] = [device.publish('readings', 'x'.repeat(200)), device.publish('readings', 'small')];
    await expect(large).rejects.toMatchObject({ code: 'message_refused', serverReason: 'packet_too_large' });
    await small;
    expect(payloads(broker)).toEqual(['small']);
  });
});

describe('what the broker announces', () => {
  it('as receive maximum is the number of messages in flight', async () => {
    const held: Packet[] = [];
    let mostHeld = 0;
    // What came in one chunk is acknowledged together, behind all of it.
    const acknowledgeAll = () => {
      for (const packet of held.splice(0)) broker.send(puback(packet));
    };
    const broker: Broker = await startBroker((packet, connection) => {
      if (packet.cmd === 'connect') return [connack({ receiveMaximum: 2 })];
      if (packet.cmd !== 'publish') return friendly(packet, connection);
      held.push(packet);
      mostHeld = Math.max(mostHeld, held.length);
      setImmediate(acknowledgeAll);
      return [];
    });
    const device = await open(broker);
    await Promise.all([1, 2, 3, 4, 5].map((reading) => device.publish('readings', reading)));
    expect(mostHeld).toBe(2);
    expect(payloads(broker)).toEqual(['1', '2', '3', '4', '5']);
  });

  it('as keep alive takes the place of the device its own', async () => {
    const pinged = Promise.withResolvers<void>();
    const broker = await startBroker((packet, connection) => {
      if (packet.cmd === 'connect') return [connack({ serverKeepAlive: 1 })];
      if (packet.cmd === 'pingreq') pinged.resolve();
      return friendly(packet, connection);
    });
    await open(broker, { keepalive: 1_200 });
    await pinged.promise;
  });

  it('as a retain that it does not have leaves the retain flag out', async () => {
    const broker = await startBroker((packet, connection) =>
      packet.cmd === 'connect' ? [connack({ retainAvailable: false })] : friendly(packet, connection),
    );
    const device = await open(broker);
    await device.twin.report({ on: true });
    expect(broker.received.find(({ cmd }) => cmd === 'publish')).toMatchObject({ retain: false });
  });
});

const publishes = ({ received }: Broker) => received.filter(({ cmd }) => cmd === 'publish') as IPublishPacket[];

describe('properties of a message', () => {
  const properties = {
    ...({ contentType: 'text/plain', payloadFormatIndicator: 1, messageExpiry: 60 } as const),
    userProperties: [
      ['site', 'north'],
      ['shift', 'late'],
    ] as const,
  };
  const arrived = {
    contentType: 'text/plain',
    payloadFormatIndicator: true,
    userProperties: { site: 'north', shift: 'late' },
  };

  it('arrive at the broker, with what is left of the expiry', async () => {
    const broker = await startBroker(friendly);
    const device = await open(broker);
    await device.publish('readings', 'warm', properties);
    await device.publishEvent('started', 'now', {
      ...properties,
      qos: 0,
      userProperties: { site: 'north', shift: 'late' },
    });
    await expect.poll(() => publishes(broker).length).toBe(2);
    const [telemetry, event] = publishes(broker);
    expect(telemetry?.properties).toEqual({ ...arrived, messageExpiryInterval: 60 });
    expect(event?.properties).toEqual({ ...arrived, messageExpiryInterval: 60 });
  });

  it('are not sent to a broker that does not know them', async () => {
    const broker = await startBroker(friendly);
    const device = await open(broker, { mqttVersion: '3.1.1' });
    await device.publish('readings', 'warm', properties);
    expect(publishes(broker)).toMatchObject([{ payload: Buffer.from('warm') }]);
    expect(publishes(broker)[0]?.properties).toBeUndefined();
  });

  it('outlive a restart of the device in the queue on disk, and an expired message is not sent', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'rollcall-properties-'));
    cleanups.push(() => rmSync(dataDir, { recursive: true, force: true }));
    const est = await startScriptedEstServer(authority);
    cleanups.push(() => est.close());
    await enrollOnce(fileIdentityStore(dataDir), { token: est.token(), deviceId: DEVICE });
    let now = Date.now();
    const offline = { dataDir, store: undefined, mqttUrl: 'mqtts://127.0.0.1:1', now: () => now };
    const before = await Device.open(offline);
    await before.publish('readings', 'short', { ...properties, messageExpiry: 5 });
    await before.publish('readings', 'long', properties);
    await before.publish('readings', 'plain');
    await before.close();
    now += 10_000;
    const broker = await startBroker(friendly);
    const after = await Device.open({ ...offline, mqttUrl: broker.url });
    cleanups.push(() => after.close());
    await after.drained();
    expect(payloads(broker)).toEqual(['long', 'plain']);
    const [{ properties: sent } = {}, { properties: none } = {}] = publishes(broker);
    expect(sent).toMatchObject(arrived);
    expect(sent?.messageExpiryInterval).toBeLessThanOrEqual(50);
    expect(none).toBeUndefined();
    expect(after.queue).toMatchObject({ messages: 0, expired: 1 });
  });

  it.each([
    ['an expiry of 0', { messageExpiry: 0 }],
    ['a content type that is no text', { contentType: 'a\0' }],
    ['half of a surrogate pair', { contentType: '\ud800' }],
    ['33 user properties', { userProperties: Array.from({ length: 33 }, () => ['a', 'b'] as const) }],
    ['more than 8 KiB', { userProperties: { a: 'x'.repeat(8 * 1024) } }],
    ['something else than pairs', { userProperties: ['a'] as never }],
  ])('are refused at publish: %s', async (_what, wrong) => {
    const device = await open(await startBroker(friendly));
    await expect(device.publish('readings', 1, wrong)).rejects.toMatchObject({ code: 'request_invalid' });
  });
});

describe('a command', () => {
  const command = (requestId: string, properties: object): Packet => ({
    ...{ cmd: 'publish', topic: `devices/${DEVICE}/commands/ping/${requestId}`, payload: '1', qos: 0 },
    ...{ dup: false, retain: false, properties },
  });
  const own = (requestId: string) => `devices/${DEVICE}/responses/${requestId}`;

  it.each([
    ['its response topic', 'services/back-end/answers', 'services/back-end/answers'],
    ['a response topic of the device', own('other'), own('other')],
    ['its own topic without a response topic', undefined, own('r1')],
    ['its own topic instead of its telemetry', `devices/${DEVICE}/telemetry/level`, own('r1')],
    ['its own topic instead of its twin', `devices/${DEVICE}/twin/reported`, own('r1')],
    ['its own topic instead of that of another device', 'devices/dev-8/responses/r1', own('r1')],
    ['its own topic instead of one of the server', '$fleet/trust-bundle', own('r1')],
  ])('is answered on %s, with the correlation data', async (_what, responseTopic, answered) => {
    const broker = await startBroker(friendly);
    const seen: unknown[] = [];
    const device = await open(broker, {
      commands: {
        ping: ({ contentType, userProperties }) => {
          seen.push({ contentType, userProperties });
          return 'pong';
        },
      },
    });
    await device.connected();
    const correlationData = Buffer.from([0, 255]);
    const asked = { correlationData, contentType: 'application/json', userProperties: { by: 'operator' } };
    broker.send(command('r1', responseTopic === undefined ? asked : { ...asked, responseTopic }));
    await expect.poll(() => publishes(broker).length).toBe(1);
    expect(publishes(broker)[0]).toMatchObject({ topic: answered, properties: { correlationData } });
    expect(seen).toEqual([{ contentType: 'application/json', userProperties: [['by', 'operator']] }]);
  });
});
