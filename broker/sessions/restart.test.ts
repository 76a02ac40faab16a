/** What a broker finds again when it starts on the file of an earlier one, and what it does not. */

import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { DEFAULT, device, service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';

let bed: TestBroker;
afterEach(() => bed?.close());

const command = 'devices/dev-1/commands/a/1';

async function restarted(sessionFile: string): Promise<void> {
  await bed.close();
  bed = await TestBroker.start({ sessionFile });
}

describe('a broker that starts again', () => {
  it('has the session, its filters and its queue', async () => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    bed = await TestBroker.start({ sessionFile });
    const first = await bed.connectDevice('dev-1', { clean: false });
    await first.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    first.destroy();
    await bed.event('disconnected');
    const commander = await bed.connectService('commander');
    await commander.publish(command, 'x', { qos: 1 });
    await commander.settled();
    await restarted(sessionFile);
    expect(bed.broker.owners()).toEqual([device('dev-1')]);
    const again = await bed.connectDevice('dev-1', { clean: false });
    expect(again.packets[0]).toMatchObject({ cmd: 'connack', sessionPresent: true });
    expect(await again.settled()).toMatchObject([{ cmd: 'publish', topic: command, qos: 1 }]);
  });

  it('knows nothing of an identity that was revoked', async () => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    bed = await TestBroker.start({ sessionFile });
    const client = await bed.connectDevice('dev-1', {
      clean: false,
      will: { topic: 'devices/dev-1/events/gone', payload: 'bye' },
    });
    await client.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    await client.publish('devices/dev-1/twin/reported', 'x', { qos: 1, retain: true });
    await client.settled();
    expect(bed.broker.counters()).toMatchObject({ kept_sessions: 1, retained: 1 });
    await bed.broker.disconnect(device('dev-1'), 'revoked');
    await restarted(sessionFile);
    expect(bed.broker.owners()).toEqual([]);
    expect(bed.broker.counters()).toMatchObject({ kept_sessions: 0, retained: 0, kept_bytes: 0 });
  });

  it.each([
    ['suspended', () => bed.broker.disconnect(device('dev-1'), 'suspended')],
    [
      'put in quarantine',
      () => bed.broker.reauthorize({ identity: device('dev-1'), group: DEFAULT, labels: {}, isQuarantined: true }),
    ],
  ])('says no last word for a device that is %s before it comes back', async (_, restrict) => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    bed = await TestBroker.start({ sessionFile });
    // What a server leaves that ends without a word while the device is connected.
    const packet = { topic: 'devices/dev-1/events/gone', payload: Buffer.from('bye'), qos: 1 as const };
    const subject = { identity: device('dev-1'), group: DEFAULT, labels: {} };
    await bed.sessions.memory.putWill({ id: 'dev-1' }, packet, JSON.stringify({ owner: 'device/dev-1', subject }));
    await restarted(sessionFile);
    expect(bed.broker.owners()).toEqual([device('dev-1')]);
    await restrict();
    const listener = await bed.connectService('listener');
    await listener.subscribe('devices/+/events/+');
    await bed.connectDevice('dev-1');
    expect(await listener.settled()).toEqual([]);
    expect(bed.broker.owners()).toEqual([]);
  });

  it('keeps no will of a connection that ended as it should', async () => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    bed = await TestBroker.start({ sessionFile });
    const will = { topic: 'devices/dev-1/events/gone', payload: 'bye' };
    const client = await bed.connectDevice('dev-1', { will });
    client.send({ cmd: 'disconnect' });
    await client.closed;
    await bed.event('disconnected');
    await restarted(sessionFile);
    expect(bed.broker.owners()).toEqual([]);
  });

  it('keeps the will of the connection that took over, not of the one before', async () => {
    bed = await TestBroker.start();
    const credentials = bed.enroll(device('dev-1'));
    const will = (payload: string) => ({ topic: 'devices/dev-1/events/gone', payload });
    const old = await bed.session(credentials, { clientId: 'dev-1', will: will('old') });
    await bed.session(credentials, { clientId: 'dev-1', will: will('new') });
    await old.closed;
    await bed.event('disconnected');
    expect(String((await bed.sessions.memory.getWill({ id: 'dev-1' }))?.payload)).toBe('new');
  });
});

it('a clean session without a will costs no write', async () => {
  bed = await TestBroker.start();
  const listener = await bed.session(bed.enroll(service('listener')), { clientId: 'listener' });
  await listener.subscribe('devices/+/events/+');
  const client = await bed.connectDevice('dev-1');
  await client.publish('devices/dev-1/events/door', 'x', { qos: 1 });
  await client.settled();
  client.send({ cmd: 'disconnect' });
  await client.closed;
  await bed.event('disconnected');
  await bed.sessions.memory.durable();
  expect(bed.broker.counters().session_commits).toBe(0);
});
