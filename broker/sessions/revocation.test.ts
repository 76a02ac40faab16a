/** Revocation: what a device has and leaves behind is gone when the call returns. */

import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { delayCertificateStatus } from '../../test/fixtures/broker/delayed-certificate-status.ts';
import { messages } from '../../test/fixtures/broker/received-packets.ts';
import { device, service, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let bed: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  bed = await TestBroker.start(options);
};
afterEach(() => bed?.close());

const dev1 = device('dev-1');
const telemetry = 'devices/dev-1/telemetry/temp';

/** As the registry does it: committed first, then told. */
async function revoke(identity = dev1) {
  bed.revokeInRegistry(identity);
  return bed.broker.disconnect(identity, 'revoked');
}

describe('a revoked device', () => {
  it('has no session when the call returns, and gets no new one', async () => {
    await start();
    const credentials = bed.enroll(dev1);
    const client = await bed.session(credentials, { clientId: 'dev-1' });
    expect(await revoke()).toEqual({ sessionsClosed: 1 });
    expect(bed.broker.sessions()).toEqual([]);
    await client.closed;
    const again = await bed.open(credentials);
    expect(await again.connect({ clientId: 'dev-1' })).toBe(5);
    expect(await bed.event('disconnected')).toMatchObject({ identity: dev1, reason: 'revoked' });
    expect(await bed.event('connect_failed')).toMatchObject({ identity: dev1, reason: 'revoked' });
  });

  it('gets no acknowledgement for what was on its way to storage', async () => {
    let store = () => {};
    const reached = Promise.withResolvers<void>();
    await start({
      accept: () =>
        new Promise((resolve) => {
          store = resolve;
          reached.resolve();
        }),
    });
    const client = await bed.session(bed.enroll(dev1), { clientId: 'dev-1' });
    await client.publish(telemetry, 'x', { qos: 1 });
    await reached.promise;
    await revoke();
    store();
    await client.closed;
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack']);
  });

  it('is not heard with what was on its way to storage', async () => {
    const stored = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    await start({
      accept: () => {
        reached.resolve();
        return stored.promise;
      },
    });
    const listener = await bed.connectService('listener');
    await listener.subscribe('devices/+/telemetry/+');
    const client = await bed.session(bed.enroll(dev1), { clientId: 'dev-1' });
    await client.publish(telemetry, 'x');
    await reached.promise;
    await revoke();
    stored.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(messages(await listener.settled())).toEqual([]);
  });

  it('says nothing more: neither its will nor what it sent last', async () => {
    await start();
    const listener = await bed.connectService('listener');
    await listener.subscribe('devices/+/events/+', 'devices/+/telemetry/+', '$fleet/events/#');
    const will = { topic: 'devices/dev-1/events/gone', payload: 'bye', qos: 1 as const };
    const client = await bed.session(bed.enroll(dev1), { clientId: 'dev-1', will });
    for (let n = 0; n < 50; n += 1) await client.publish(telemetry, 'x');
    const before = bed.accepted.length;
    await revoke();
    const after = bed.accepted.length;
    expect(after).toBe(before);
    const heard = messages(await listener.settled());
    expect(heard.filter((text) => text.startsWith('devices/dev-1/events'))).toEqual([]);
    expect(await bed.event('disconnected')).toMatchObject({ identity: dev1, reason: 'revoked', sequence: 2 });
    expect(bed.accepted.length).toBe(after);
  });

  it('leaves neither session nor queue nor retained message behind', async () => {
    const policy = {
      ...DEFAULT_DEVICE_POLICY,
      retain: ['devices/${device.id}/events/+', 'devices/${device.id}/twin/reported'],
    };
    await start({ policies: { 'group/default': policy } });
    const first = await bed.session(bed.enroll(dev1), { clientId: 'dev-1', clean: false });
    await first.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    await first.publish('devices/dev-1/twin/reported', 'mine', { retain: true });
    await first.publish('devices/dev-1/events/door', 'mine', { retain: true });
    const other = await bed.connectDevice('dev-2', { clean: false });
    await other.publish('devices/dev-2/twin/reported', 'other', { retain: true });
    await Promise.all([first.settled(), other.settled()]);
    first.destroy();
    await bed.event('disconnected');
    const commander = await bed.connectService('commander');
    await commander.publish('devices/dev-1/commands/open/1', 'unlock', { qos: 1 });
    await commander.settled();
    expect(bed.broker.counters()).toMatchObject({ retained: 3, kept_sessions: 2 });

    await revoke();
    expect(bed.broker.counters()).toMatchObject({ retained: 1, kept_sessions: 1 });
    await commander.subscribe('devices/+/twin/reported', 'devices/+/events/+');
    expect(messages(await commander.settled())).toEqual(['devices/dev-2/twin/reported other']);

    // The same name enrolled anew finds nothing of the old one.
    const again = await bed.session(bed.enroll(dev1), { clientId: 'dev-1', clean: false });
    expect(again.packets[0]).toMatchObject({ sessionPresent: false });
    expect(messages(await again.settled())).toEqual([]);
  });

  it('is not let in by an answer that the registry gave before', async () => {
    const held = delayCertificateStatus();
    await start({ standing: held.standing });
    const client = await bed.open(bed.enroll(dev1));
    const code = client.connect({ clientId: 'dev-1' });
    await held.asked;
    expect(await revoke()).toEqual({ sessionsClosed: 0 });
    held.answer();
    expect(await code).toBe(5);
    expect(bed.broker.sessions()).toEqual([]);
  });

  it('is not let in when it was found good before it sent CONNECT', async () => {
    await start();
    const client = await bed.open(bed.enroll(dev1));
    await new Promise((resolve) => setImmediate(resolve));
    await revoke();
    expect(await client.connect({ clientId: 'dev-1' })).toBe(5);
  });

  it('is cut off while it connects, publishes and subscribes', async () => {
    await start({ limits: { takeoversPerMinute: 0, messagesPerSecond: 0 } });
    const credentials = bed.enroll(dev1);
    const clients = await Promise.all(Array.from({ length: 10 }, () => bed.open(credentials)));
    for (const client of clients) {
      const connect = client.connect({ clientId: 'dev-1', clean: false });
      void connect.then(() => client.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 }));
      for (let n = 1; n < 20; n += 1) await client.publish(telemetry, 'x', { qos: 1, messageId: n });
    }
    await bed.event('connected');
    await revoke();
    expect(bed.broker.sessions()).toEqual([]);
    await Promise.all(clients.map((client) => client.closed));
    expect(bed.broker.sessions()).toEqual([]);
    expect(bed.broker.counters()).toMatchObject({ sessions: 0, kept_sessions: 0 });
  });

  it('disturbs nobody else, however many are revoked at once', async () => {
    await start({ limits: { handshakesPerAddress: 0, connectionsPerSecondPerAddress: 0 } });
    const ids = Array.from({ length: 40 }, (_, index) => `dev-${index}`);
    const clients = await Promise.all(ids.map((id) => bed.connectDevice(id)));
    const bystander = await bed.connectDevice('bystander');
    await Promise.all(ids.map((id) => revoke(device(id))));
    await Promise.all(clients.map((client) => client.closed));
    expect(await bystander.settled()).toEqual([]);
    expect(bed.broker.sessions().map(({ clientId }) => clientId)).toEqual(['bystander']);
  });
});

describe('a revoked service', () => {
  it('loses all of its sessions', async () => {
    await start();
    const credentials = bed.enroll(service('dashboard'));
    const clients = await Promise.all(
      ['dashboard', 'dashboard-1', 'dashboard-2'].map((clientId) =>
        bed.session(credentials, { clientId, clean: false }),
      ),
    );
    expect(await revoke(service('dashboard'))).toEqual({ sessionsClosed: 3 });
    await Promise.all(clients.map((client) => client.closed));
    expect(bed.broker.counters()).toMatchObject({ sessions: 0, kept_sessions: 0 });
  });
});

describe('a device that is disconnected for another reason', () => {
  it('keeps its session, its will is published, and it may come back', async () => {
    await start();
    const listener = await bed.connectService('listener');
    await listener.subscribe('devices/+/events/+');
    const credentials = bed.enroll(dev1);
    const will = { topic: 'devices/dev-1/events/gone', payload: 'bye' };
    await bed.session(credentials, { clientId: 'dev-1', clean: false, will });
    await bed.broker.disconnect(dev1, 'operator');
    expect(await listener.next()).toMatchObject({ topic: 'devices/dev-1/events/gone' });
    expect(bed.broker.counters().kept_sessions).toBe(1);
    await bed.session(credentials, { clientId: 'dev-1', clean: false });
  });
});
