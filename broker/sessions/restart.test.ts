/** What a broker finds again when it starts on the file of an earlier one, and what it does not. */

import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { storedWill } from '../../test/fixtures/broker/stored-will.ts';
import { DEFAULT, device, service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

const command = 'devices/dev-1/commands/a/1';

async function restarted(sessionFile: string): Promise<void> {
  await testBroker.close();
  testBroker = await TestBroker.start({ sessionFile });
}

describe('a restarted broker', () => {
  it('has the session, its filters and its queue', async () => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    testBroker = await TestBroker.start({ sessionFile });
    const first = await testBroker.connectDevice('dev-1', { clean: false });
    await first.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    first.destroy();
    await testBroker.event('disconnected');
    const commander = await testBroker.connectService('commander');
    await commander.publish(command, 'x', { qos: 1 });
    await commander.settled();
    await restarted(sessionFile);
    expect(testBroker.broker.owners()).toEqual([device('dev-1')]);
    const again = await testBroker.connectDevice('dev-1', { clean: false });
    expect(again.packets[0]).toMatchObject({ cmd: 'connack', sessionPresent: true });
    expect(await again.settled()).toMatchObject([{ cmd: 'publish', topic: command, qos: 1 }]);
  });

  it('has nothing of an identity that was revoked', async () => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    testBroker = await TestBroker.start({ sessionFile });
    const client = await testBroker.connectDevice('dev-1', {
      clean: false,
      will: { topic: 'devices/dev-1/events/gone', payload: 'bye' },
    });
    await client.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    await client.publish('devices/dev-1/twin/reported', 'x', { qos: 1, retain: true });
    await client.settled();
    expect(testBroker.broker.counters()).toMatchObject({ persistent_sessions: 1, retained: 1 });
    await testBroker.broker.disconnect(device('dev-1'), 'revoked');
    await restarted(sessionFile);
    expect(testBroker.broker.owners()).toEqual([]);
    expect(testBroker.broker.counters()).toMatchObject({ persistent_sessions: 0, retained: 0, session_store_bytes: 0 });
  });

  it.each([
    ['suspended', () => testBroker.broker.disconnect(device('dev-1'), 'suspended')],
    [
      'put in quarantine',
      () =>
        testBroker.broker.reauthorize({ identity: device('dev-1'), group: DEFAULT, labels: {}, isQuarantined: true }),
    ],
  ])('says no last word for a device that is %s before it comes back', async (_, restrict) => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    testBroker = await TestBroker.start({ sessionFile });
    // What a server leaves that ends without a word while the device is connected.
    const packet = { topic: 'devices/dev-1/events/gone', payload: Buffer.from('bye'), qos: 1 as const };
    const subject = { identity: device('dev-1'), group: DEFAULT, labels: {} };
    testBroker.sessions.store.putWill('dev-1', storedWill(packet, { owner: 'device/dev-1', subject }));
    await restarted(sessionFile);
    expect(testBroker.broker.owners()).toEqual([device('dev-1')]);
    await restrict();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/+/events/+');
    await testBroker.connectDevice('dev-1');
    expect(await listener.settled()).toEqual([]);
    expect(testBroker.broker.owners()).toEqual([]);
  });

  it('has no pending will of a connection that ended with DISCONNECT', async () => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    testBroker = await TestBroker.start({ sessionFile });
    const will = { topic: 'devices/dev-1/events/gone', payload: 'bye' };
    const client = await testBroker.connectDevice('dev-1', { will });
    client.send({ cmd: 'disconnect' });
    await client.closed;
    await testBroker.event('disconnected');
    await restarted(sessionFile);
    expect(testBroker.broker.owners()).toEqual([]);
  });

  it('has the will of the connection that took over, not of the earlier one', async () => {
    testBroker = await TestBroker.start();
    const credentials = testBroker.enroll(device('dev-1'));
    const will = (payload: string) => ({ topic: 'devices/dev-1/events/gone', payload });
    const old = await testBroker.session(credentials, { clientId: 'dev-1', will: will('old') });
    await testBroker.session(credentials, { clientId: 'dev-1', will: will('new') });
    await old.closed;
    await testBroker.event('disconnected');
    expect(String(testBroker.sessions.store.willOf('dev-1')?.payload)).toBe('new');
  });
});

it('a clean session without a will causes no write', async () => {
  testBroker = await TestBroker.start();
  const listener = await testBroker.session(testBroker.enroll(service('listener')), { clientId: 'listener' });
  await listener.subscribe('devices/+/events/+');
  const client = await testBroker.connectDevice('dev-1');
  await client.publish('devices/dev-1/events/door', 'x', { qos: 1 });
  await client.settled();
  client.send({ cmd: 'disconnect' });
  await client.closed;
  await testBroker.event('disconnected');
  await testBroker.sessions.store.durable();
  expect(testBroker.broker.counters().session_commits).toBe(0);
});
