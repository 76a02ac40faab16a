/** Revocation: what a device has and leaves behind is gone when the call returns. */

import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { delayCertificateStatus } from '../../test/fixtures/broker/delayed-certificate-status.ts';
import { messages } from '../../test/fixtures/broker/received-packets.ts';
import {
  CONFIRMED,
  device,
  service,
  TestBroker,
  type TestBrokerOptions,
} from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const dev1 = device('dev-1');
const telemetry = 'devices/dev-1/telemetry/temp';

/** As the registry does it: committed first, then told. */
async function revoke(identity = dev1) {
  testBroker.revokeInRegistry(identity);
  return testBroker.broker.disconnect(identity, 'revoked');
}

describe('a revoked device', () => {
  it('has no session when the call returns, and gets no new one', async () => {
    await start();
    const credentials = testBroker.enroll(dev1);
    const client = await testBroker.session(credentials, { clientId: 'dev-1' });
    expect(await revoke()).toEqual({ sessionsClosed: 1, ...CONFIRMED });
    expect(testBroker.broker.sessions()).toEqual([]);
    await client.closed;
    const again = await testBroker.open(credentials);
    expect(await again.connect({ clientId: 'dev-1' })).toBe(5);
    expect(await testBroker.event('disconnected')).toMatchObject({ identity: dev1, reason: 'revoked' });
    expect(await testBroker.event('connect_failed')).toMatchObject({ identity: dev1, reason: 'revoked' });
  });

  it('gets no acknowledgement for messages that were being stored', async () => {
    let store = () => {};
    const reached = Promise.withResolvers<void>();
    await start({
      accept: () =>
        new Promise((resolve) => {
          store = resolve;
          reached.resolve();
        }),
    });
    const client = await testBroker.session(testBroker.enroll(dev1), { clientId: 'dev-1' });
    await client.publish(telemetry, 'x', { qos: 1 });
    await reached.promise;
    await revoke();
    store();
    await client.closed;
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack']);
  });

  it('has no message delivered that was being stored', async () => {
    const stored = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    await start({
      accept: () => {
        reached.resolve();
        return stored.promise;
      },
    });
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/+/telemetry/+');
    const client = await testBroker.session(testBroker.enroll(dev1), { clientId: 'dev-1' });
    await client.publish(telemetry, 'x');
    await reached.promise;
    await revoke();
    stored.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(messages(await listener.settled())).toEqual([]);
  });

  it('publishes nothing more: neither its will nor its last messages', async () => {
    await start();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/+/events/+', 'devices/+/telemetry/+', '$fleet/events/#');
    const will = { topic: 'devices/dev-1/events/gone', payload: 'bye', qos: 1 as const };
    const client = await testBroker.session(testBroker.enroll(dev1), { clientId: 'dev-1', will });
    for (let n = 0; n < 50; n += 1) await client.publish(telemetry, 'x');
    const revoking = revoke();
    for (let n = 0; n < 50; n += 1) await client.publish(telemetry, 'x');
    await revoking;
    const after = testBroker.accepted.length;
    const heard = messages(await listener.settled());
    expect(heard.filter((text) => text.startsWith('devices/dev-1/events'))).toEqual([]);
    expect(await testBroker.event('disconnected')).toMatchObject({ identity: dev1, reason: 'revoked', sequence: 2 });
    expect(testBroker.accepted.length).toBe(after);
  });

  it('leaves neither session nor queue nor retained message behind', async () => {
    const policy = {
      ...DEFAULT_DEVICE_POLICY,
      retain: ['devices/${device.id}/events/+', 'devices/${device.id}/twin/reported'],
    };
    await start({ policies: { 'group/default': policy } });
    const first = await testBroker.session(testBroker.enroll(dev1), { clientId: 'dev-1', clean: false });
    await first.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    await first.publish('devices/dev-1/twin/reported', 'mine', { retain: true });
    await first.publish('devices/dev-1/events/door', 'mine', { retain: true });
    const other = await testBroker.connectDevice('dev-2', { clean: false });
    await other.publish('devices/dev-2/twin/reported', 'other', { retain: true });
    await Promise.all([first.settled(), other.settled()]);
    first.destroy();
    await testBroker.event('disconnected');
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-1/commands/open/1', 'unlock', { qos: 1 });
    await commander.settled();
    expect(testBroker.broker.counters()).toMatchObject({ retained: 3, persistent_sessions: 2 });

    await revoke();
    expect(testBroker.broker.counters()).toMatchObject({ retained: 1, persistent_sessions: 1 });
    await commander.subscribe('devices/+/twin/reported', 'devices/+/events/+');
    expect(messages(await commander.settled())).toEqual(['devices/dev-2/twin/reported other']);

    // The same name enrolled anew finds nothing of the old one.
    const again = await testBroker.session(testBroker.enroll(dev1), { clientId: 'dev-1', clean: false });
    expect(again.packets[0]).toMatchObject({ sessionPresent: false });
    expect(messages(await again.settled())).toEqual([]);
  });

  it('is not accepted by a registry response from before the revocation', async () => {
    const held = delayCertificateStatus();
    await start({ certificateStatus: held.certificateStatus });
    const client = await testBroker.open(testBroker.enroll(dev1));
    const code = client.connect({ clientId: 'dev-1' });
    await held.asked;
    expect(await revoke()).toEqual({ sessionsClosed: 0, ...CONFIRMED });
    held.answer();
    expect(await code).toBe(5);
    expect(testBroker.broker.sessions()).toEqual([]);
  });

  it('is not accepted when its status was read before it sent CONNECT', async () => {
    await start();
    const client = await testBroker.open(testBroker.enroll(dev1));
    await new Promise((resolve) => setImmediate(resolve));
    await revoke();
    expect(await client.connect({ clientId: 'dev-1' })).toBe(5);
  });

  it('is disconnected while it connects, publishes and subscribes', async () => {
    await start({ limits: { takeoversPerMinute: 0, messagesPerSecond: 0 } });
    const credentials = testBroker.enroll(dev1);
    const clients = await Promise.all(Array.from({ length: 10 }, () => testBroker.open(credentials)));
    for (const client of clients) {
      const connect = client.connect({ clientId: 'dev-1', clean: false });
      void connect.then(() => client.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 }));
      for (let n = 1; n < 20; n += 1) await client.publish(telemetry, 'x', { qos: 1, messageId: n });
    }
    await testBroker.event('connected');
    await revoke();
    expect(testBroker.broker.sessions()).toEqual([]);
    await Promise.all(clients.map((client) => client.closed));
    expect(testBroker.broker.sessions()).toEqual([]);
    expect(testBroker.broker.counters()).toMatchObject({ sessions: 0, persistent_sessions: 0 });
  });

  it('does not affect other sessions, however many are revoked at once', async () => {
    await start({ limits: { handshakesPerAddress: 0, connectionsPerSecondPerAddress: 0 } });
    const ids = Array.from({ length: 40 }, (_, index) => `dev-${index}`);
    const clients = await Promise.all(ids.map((id) => testBroker.connectDevice(id)));
    const bystander = await testBroker.connectDevice('bystander');
    await Promise.all(ids.map((id) => revoke(device(id))));
    await Promise.all(clients.map((client) => client.closed));
    expect(await bystander.settled()).toEqual([]);
    expect(testBroker.broker.sessions().map(({ clientId }) => clientId)).toEqual(['bystander']);
  });
});

describe('a revoked service', () => {
  it('loses all of its sessions', async () => {
    await start();
    const credentials = testBroker.enroll(service('dashboard'));
    const clients = await Promise.all(
      ['dashboard', 'dashboard-1', 'dashboard-2'].map((clientId) =>
        testBroker.session(credentials, { clientId, clean: false }),
      ),
    );
    expect(await revoke(service('dashboard'))).toEqual({ sessionsClosed: 3, ...CONFIRMED });
    await Promise.all(clients.map((client) => client.closed));
    expect(testBroker.broker.counters()).toMatchObject({ sessions: 0, persistent_sessions: 0 });
  });
});

describe('a device that is disconnected for another reason', () => {
  it('keeps its persistent session, its will is published, and it may reconnect', async () => {
    await start();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/+/events/+');
    const credentials = testBroker.enroll(dev1);
    const will = { topic: 'devices/dev-1/events/gone', payload: 'bye' };
    await testBroker.session(credentials, { clientId: 'dev-1', clean: false, will });
    await testBroker.broker.disconnect(dev1, 'operator');
    expect(await listener.next()).toMatchObject({ topic: 'devices/dev-1/events/gone' });
    expect(testBroker.broker.counters().persistent_sessions).toBe(1);
    await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
  });
});
