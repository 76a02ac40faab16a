/** PUBLISH while something else happens to its session, its receivers or the storage. */

import { DEFAULT_DEVICE_POLICY, type PolicyDocument } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { manualStorage } from '../../test/fixtures/broker/manual-storage.ts';
import { payloads } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

const EVERYTHING: PolicyDocument = {
  connect: ['${service.name}'],
  publish: ['#'],
  subscribe: ['#', '$fleet/events/#'],
  receive: ['#', '$fleet/events/#'],
  retain: ['#'],
};
const telemetry = 'devices/dev-1/telemetry/t';
const persistent = { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3_600 } } as const;
const stored = () => testBroker.accepted.map(({ payload }) => String(payload));

describe('telemetry of QoS 2', () => {
  it.each([4, 5] as const)(
    'is acknowledged once it is stored, even if no session that is away has room for it (version %d)',
    async (version) => {
      testBroker = await TestBroker.start({ limits: { queuedBytes: 100 } });
      const reader = await testBroker.connectService('reader', persistent);
      await reader.subscribe({ topic: 'devices/+/telemetry/+', qos: 2 });
      reader.destroy();
      await testBroker.event('disconnected', ({ clientId }) => clientId === 'reader');
      const client = await testBroker.connectDevice('dev-1', { protocolVersion: version, clean: false });
      await client.publish(telemetry, Buffer.alloc(200), { qos: 2, messageId: 3 });
      expect(await client.next()).toMatchObject({
        cmd: 'pubrec',
        messageId: 3,
        ...(version === 5 && { reasonCode: 0 }),
      });
    },
  );

  it.each([true, false])(
    'that is sent twice while it is being stored is in the journal once (clean session %s)',
    async (clean) => {
      const storage = manualStorage();
      testBroker = await TestBroker.start({ accept: storage.accept });
      const client = await testBroker.connectDevice('dev-1', { clean });
      await client.publish(telemetry, 'one', { qos: 2, messageId: 3 });
      await storage.count(1);
      await client.publish(telemetry, 'one', { qos: 2, messageId: 3, dup: true });
      await client.publish(telemetry, 'end', { qos: 0 });
      await waitUntil(() => storage.waiting.some(({ message }) => String(message.payload) === 'end'));
      const finish = setInterval(() => {
        for (const { resolve } of storage.waiting) resolve();
      }, 5);
      await client.settled();
      clearInterval(finish);
      expect(stored().filter((text) => text === 'one')).toEqual(['one']);
    },
  );

  it('that is refused frees its packet identifier for another message', async () => {
    const policies = { 'group/default': DEFAULT_DEVICE_POLICY };
    testBroker = await TestBroker.start({ policies });
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, { clientId: 'dev-1', ...persistent });
    await first.publish(telemetry, 'one', { qos: 2, messageId: 3 });
    await first.nextOf('pubrec');
    first.destroy();
    await testBroker.event('disconnected');
    const none = { ...DEFAULT_DEVICE_POLICY, publish: [] };
    testBroker.setPolicy('group/default', none);
    const second = await testBroker.session(credentials, { clientId: 'dev-1', ...persistent });
    await second.publish(telemetry, 'one', { qos: 2, messageId: 3, dup: true });
    const answer = await second.nextOf('pubrec');
    if (answer?.reasonCode === 0) {
      second.send({ cmd: 'pubrel', messageId: 3 });
      await second.nextOf('pubcomp');
    }
    second.destroy();
    await testBroker.event('disconnected', ({ sequence }) => sequence > 1);
    testBroker.setPolicy('group/default', DEFAULT_DEVICE_POLICY);
    const third = await testBroker.session(credentials, { clientId: 'dev-1', ...persistent });
    await third.publish(telemetry, 'two', { qos: 2, messageId: 3 });
    await third.nextOf('pubrec');
    expect(stored()).toEqual(['one', 'two']);
  });

  it('that is stored after its session was replaced does not use a packet identifier of the new one', async () => {
    const storage = manualStorage();
    testBroker = await TestBroker.start({ accept: storage.accept });
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, { clientId: 'dev-1', ...persistent });
    await first.publish(telemetry, 'old', { qos: 2, messageId: 3 });
    await storage.count(1);
    const second = await testBroker.session(credentials, { clientId: 'dev-1', ...persistent, clean: true });
    storage.waiting[0]?.resolve();
    await second.settled();
    await second.publish(telemetry, 'new', { qos: 2, messageId: 3 });
    await storage.count(2);
    expect(String(storage.waiting[1]?.message.payload)).toBe('new');
  });
});

describe('a revoked device', () => {
  it('leaves no message of QoS 2 for a session that is away, if it was being stored', async () => {
    const storage = manualStorage();
    testBroker = await TestBroker.start({ accept: storage.accept });
    const reader = await testBroker.connectService('reader', persistent);
    await reader.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    reader.destroy();
    await testBroker.event('disconnected', ({ clientId }) => clientId === 'reader');
    const client = await testBroker.connectDevice('dev-1');
    await client.publish(telemetry, 'late', { qos: 2, messageId: 3 });
    await storage.count(1);
    testBroker.revokeInRegistry(device('dev-1'));
    await testBroker.broker.disconnect(device('dev-1'), 'revoked');
    storage.waiting[0]?.resolve();
    await client.closed;
    const again = await testBroker.connectService('reader', persistent);
    expect(payloads(await again.settled())).toEqual([]);
  });
});

describe('messages that were not acknowledged', () => {
  it.each([4, 5] as const)(
    'are sent again, even if they are more than a client may leave unread (version %d)',
    async (version) => {
      const limits = { outgoing: 64 * 1024, queuedBytes: 8 * 1024 * 1024, bytesPerSecond: 0, messagesPerSecond: 0 };
      testBroker = await TestBroker.start({ limits, policies: { 'service/*': EVERYTHING } });
      const options = { ...persistent, protocolVersion: version, ...(version === 4 && { properties: {} }) };
      const reader = await testBroker.connectService('reader', options);
      await reader.subscribe({ topic: 'jobs/+', qos: 1 });
      const publisher = await testBroker.connectService('publisher');
      for (let count = 1; count <= 60; count += 1) {
        await publisher.publish('jobs/x', Buffer.alloc(8 * 1024), { qos: 1, messageId: count });
        await reader.nextOf('publish');
      }
      reader.destroy();
      await testBroker.event('disconnected', ({ clientId }) => clientId === 'reader');
      const again = await testBroker.connectService('reader', options);
      for (let count = 1; count <= 60; count += 1) {
        expect(await again.nextOf('publish')).toMatchObject({ messageId: count, dup: true });
      }
    },
  );
});

describe('a subscription with a leading wildcard', () => {
  it.each(['#', '+/events/#'])('does not receive topics that begin with $ [MQTT-4.7.2-1]: %s', async (filter) => {
    testBroker = await TestBroker.start({ policies: { 'service/*': EVERYTHING } });
    const all = await testBroker.connectService('all');
    await all.subscribe(filter);
    const events = await testBroker.connectService('events');
    await events.subscribe('$fleet/events/#');
    await testBroker.broker.publish('$fleet/events/test', Buffer.from('event'), 1);
    expect(payloads(await events.settled())).toContain('event');
    expect(payloads(await all.settled())).not.toContain('event');
  });
});

describe('DISCONNECT', () => {
  it('cannot give an expiry to a session that has none (MQTT 5, 3.14.2.2.2)', async () => {
    testBroker = await TestBroker.start();
    const client = await testBroker.connectDevice('dev-1', { protocolVersion: 5 });
    client.disconnect({ properties: { sessionExpiryInterval: 60 } });
    expect((await client.disconnected())?.reasonCode).toBe(0x82);
  });
});

describe('a will', () => {
  const offline = 'devices/dev-1/events/offline';

  it('is decided with the group that its device has when it is published', async () => {
    const policies = {
      'group/default': DEFAULT_DEVICE_POLICY,
      'group/mute': { ...DEFAULT_DEVICE_POLICY, publish: [] },
    };
    testBroker = await TestBroker.start({ policies });
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/+/events/+');
    const client = await testBroker.connectDevice('dev-1', { will: { topic: offline, payload: 'off' } });
    await testBroker.broker.reauthorize({ identity: device('dev-1'), group: 'mute' as never, labels: {} });
    client.destroy();
    await testBroker.event('disconnected', ({ clientId }) => clientId === 'dev-1');
    await new Promise((resolve) => setImmediate(resolve));
    expect(payloads(await listener.settled())).toEqual([]);
  });
});
