/** Policies that change while sessions live or are away. */

import { DEFAULT_DEVICE_POLICY, DEFAULT_SERVICE_POLICY } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { messages } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

describe('a changed policy', () => {
  const noCommands = { ...DEFAULT_DEVICE_POLICY, subscribe: [], receive: [] };

  it('applies to live sessions at once: nothing more is delivered or accepted', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    await client.subscribe('devices/dev-1/commands/+/+');
    const commander = await testBroker.connectService('commander');
    testBroker.setPolicy('group/default', { ...noCommands, publish: [] });
    await client.settled();
    await commander.publish('devices/dev-1/commands/reboot/1', 'x');
    await commander.settled();
    expect(messages(await client.settled())).toEqual([]);
    await client.publish('devices/dev-1/telemetry/temp', 'x', { qos: 1 });
    await client.closed;
    expect(testBroker.accepted).toEqual([]);
  });

  it('removes subscriptions for good, even if the change is reverted', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    await client.subscribe('devices/dev-1/commands/+/+', 'devices/dev-1/twin/desired');
    testBroker.setPolicy('group/default', {
      ...DEFAULT_DEVICE_POLICY,
      subscribe: ['devices/${device.id}/twin/desired'],
    });
    await client.settled();
    testBroker.setPolicy('group/default', DEFAULT_DEVICE_POLICY);
    await client.settled();
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-1/commands/reboot/1', 'x');
    await commander.publish('devices/dev-1/twin/desired', 'y');
    await commander.settled();
    expect(messages(await client.settled())).toEqual(['devices/dev-1/twin/desired y']);
  });

  it('applies to disconnected sessions: nothing is queued for them, nothing is restored', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    first.destroy();
    await testBroker.event('disconnected');
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-1/commands/reboot/1', 'allowed when it was queued', { qos: 1 });
    await commander.settled();

    testBroker.setPolicy('group/default', noCommands);
    await commander.publish('devices/dev-1/commands/reboot/2', 'never queued', { qos: 1 });
    await commander.settled();
    const again = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    expect(messages(await again.settled())).toEqual([]);
    again.destroy();
    await testBroker.event(
      'disconnected',
      ({ connectedAt }) => connectedAt > 0 && testBroker.broker.sessions().length === 1,
    );

    testBroker.setPolicy('group/default', DEFAULT_DEVICE_POLICY);
    const third = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    await commander.publish('devices/dev-1/commands/reboot/3', 'x', { qos: 1 });
    await commander.settled();
    expect(messages(await third.settled())).toEqual([]);
  });

  it('that removes the right to connect ends the session', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    const other = await testBroker.connectService('other');
    testBroker.setPolicy('group/default', { ...DEFAULT_DEVICE_POLICY, connect: [] });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({
      identity: device('dev-1'),
      reason: 'policy_changed',
    });
    expect(await other.settled()).toEqual([]);
  });

  it('of another group or another service affects no other session', async () => {
    await start();
    const client = await testBroker.session(testBroker.enroll(device('dev-1'), {}, { group: 'press' }), {
      clientId: 'dev-1',
    });
    testBroker.setPolicy('group/other', { ...DEFAULT_DEVICE_POLICY, connect: [], publish: [] });
    testBroker.setPolicy('service/x', { ...DEFAULT_SERVICE_POLICY, connect: [] });
    await client.publish('devices/dev-1/telemetry/temp', 'x', { qos: 1 });
    expect(await client.next()).toMatchObject({ cmd: 'puback' });
  });

  it('that is not valid allows nothing', async () => {
    await start({ policies: { 'group/default': { connect: ['*'] } as never } });
    const client = await testBroker.open(testBroker.enroll(device('dev-1')));
    expect(await client.connect({ clientId: 'dev-1' })).toBe(2);
  });
});

describe('the preview of a policy', () => {
  it('counts the sessions that it would decide for, those that would end, and lost subscriptions, and changes nothing', async () => {
    await start({ policies: { 'group/own': DEFAULT_DEVICE_POLICY } });
    const client = await testBroker.connectDevice('dev-1');
    await client.subscribe('devices/dev-1/commands/+/+', 'devices/dev-1/twin/desired');
    await testBroker.session(testBroker.enroll(device('dev-2'), {}, { group: 'press' }), { clientId: 'dev-2' });
    await testBroker.session(testBroker.enroll(device('dev-3'), {}, { group: 'own' }), { clientId: 'dev-3' });
    await testBroker.connectService('commander');
    const { broker } = testBroker;
    const document = {
      ...DEFAULT_DEVICE_POLICY,
      connect: ['dev-1', 'dev-3'],
      subscribe: ['devices/${device.id}/twin/desired'],
    };
    const { lost, ...counts } = await broker.previewPolicy('group/default', document);
    expect(counts).toEqual({ sessions: 2, ended: 1, subscriptionsLost: 1, unanswered: [] });
    expect([...lost].sort((a, b) => a.clientId.localeCompare(b.clientId))).toEqual([
      { clientId: 'dev-1', filter: 'devices/dev-1/commands/+/+' },
      { clientId: 'dev-2' },
    ]);
    expect(await broker.previewPolicy('group/press', document)).toMatchObject({ sessions: 1, ended: 1 });
    expect(await broker.previewPolicy('quarantine/*', document)).toMatchObject({ sessions: 0 });
    expect(broker.sessions()).toHaveLength(4);
  });
});
