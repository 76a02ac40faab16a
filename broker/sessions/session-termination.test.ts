/** Suspension, quarantine, a new group or label: what they do to live sessions, at once, and to those on their way in. */

import { DEFAULT_DEVICE_POLICY, type GroupName } from '@rollcall/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import type { CertificateStatus } from '../../registry/index.ts';
import { delayCertificateStatus } from '../../test/fixtures/broker/delayed-certificate-status.ts';
import { messages } from '../../test/fixtures/broker/received-packets.ts';
import {
  CONFIRMED,
  DEFAULT,
  device,
  TestBroker,
  type TestBrokerOptions,
} from '../../test/fixtures/broker/test-broker.ts';
import type { Subject } from '../access/acl.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const dev1 = device('dev-1');
const telemetry = 'devices/dev-1/telemetry/temp';
const commands = 'devices/dev-1/commands/+/+';
const broadcast = 'groups/default/broadcast/+';
const subject: Subject = { identity: dev1, group: DEFAULT, labels: {} };
const will = { topic: 'devices/dev-1/events/gone', payload: 'bye', qos: 1 as const };

/** As the registry does it: committed first, then told. */
function suspendInRegistry() {
  for (const [serial, { state }] of testBroker.certificateStatuses) {
    if (state !== 'unknown') testBroker.certificateStatuses.set(serial, { state: 'suspended', holder: dev1 });
  }
}

function quarantineInRegistry() {
  for (const [serial, status] of testBroker.certificateStatuses) {
    if (status.state === 'good') testBroker.certificateStatuses.set(serial, { ...status, state: 'quarantined' });
  }
}

describe('a suspended device', () => {
  it('is disconnected without its will, keeps its persistent session, and is refused with its own reason until it is resumed', async () => {
    await start();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe('devices/+/events/+');
    const credentials = testBroker.enroll(dev1);
    const known = testBroker.certificateStatuses.get(credentials.serial) as CertificateStatus;
    const client = await testBroker.session(credentials, { clientId: 'dev-1', clean: false, will });
    await client.subscribe({ topic: commands, qos: 1 });
    await client.settled();
    testBroker.certificateStatuses.set(credentials.serial, { state: 'suspended', holder: dev1 });
    expect(await testBroker.broker.disconnect(dev1, 'suspended')).toMatchObject({ sessionsClosed: 1 });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ identity: dev1, reason: 'suspended' });
    expect(messages(await listener.settled())).toEqual([]);
    const refused = await testBroker.open(credentials);
    expect(await refused.connect({ clientId: 'dev-1', clean: false })).toBe(5);
    expect(await testBroker.event('connect_failed')).toMatchObject({ identity: dev1, reason: 'suspended' });
    testBroker.certificateStatuses.set(credentials.serial, known);
    const again = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    expect(again.packets[0]).toMatchObject({ cmd: 'connack', sessionPresent: true });
  });

  it('is reported with the time of its last message', async () => {
    let now = 1_900_000_000_000;
    await start({ now: () => now });
    const credentials = testBroker.enroll(dev1, {}, {});
    const known = testBroker.certificateStatuses.get(credentials.serial) as Extract<
      CertificateStatus,
      { state: 'good' }
    >;
    testBroker.certificateStatuses.set(credentials.serial, { ...known, notAfter: now + 1e9 });
    const client = await testBroker.session(credentials, { clientId: 'dev-1' });
    now += 5;
    await client.publish(telemetry, 'x', { qos: 1, messageId: 1 });
    await client.settled();
    now += 7;
    await client.settled();
    suspendInRegistry();
    expect(await testBroker.broker.disconnect(dev1, 'suspended')).toEqual({
      sessionsClosed: 1,
      lastMessageAt: now - 7,
      ...CONFIRMED,
    });
    expect(await testBroker.broker.disconnect(dev1, 'suspended')).toEqual({
      sessionsClosed: 0,
      lastMessageAt: undefined,
      ...CONFIRMED,
    });
  });

  it('is not accepted by a registry response from before the suspension, nor by one from before CONNECT', async () => {
    const held = delayCertificateStatus();
    await start({ certificateStatus: held.certificateStatus });
    const credentials = testBroker.enroll(dev1);
    const early = await testBroker.open(credentials);
    const code = early.connect({ clientId: 'dev-1' });
    await held.asked;
    const late = await testBroker.open(credentials);
    await new Promise((resolve) => setImmediate(resolve));
    suspendInRegistry();
    await testBroker.broker.disconnect(dev1, 'suspended');
    held.answer();
    expect(await code).toBe(5);
    expect(await late.connect({ clientId: 'dev-1' })).toBe(5);
    expect(testBroker.broker.sessions()).toEqual([]);
  });
});

describe('a superseded certificate', () => {
  it('is refused with a reason of its own', async () => {
    await start();
    const credentials = testBroker.enroll(dev1);
    testBroker.certificateStatuses.set(credentials.serial, {
      state: 'revoked',
      holder: dev1,
      revokedAt: 1,
      reason: 'superseded',
    });
    const client = await testBroker.open(credentials);
    expect(await client.connect({ clientId: 'dev-1' })).toBe(5);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'superseded' });
  });
});

describe('a renewed certificate', () => {
  const unproven = (standings: Map<string, CertificateStatus>, serial: string) =>
    standings.set(serial, { ...(standings.get(serial) as CertificateStatus & { state: 'good' }), isUnused: true });

  it('supersedes its predecessor when it is accepted, which ends that session and refuses the next', async () => {
    let asked = 0;
    const proven: string[] = [];
    const [old, next] = [{ serial: '' }, { serial: '' }];
    await start({
      recordFirstUse: async (serial) => {
        proven.push(serial);
        testBroker.certificateStatuses.set(old.serial, { state: 'superseded', holder: dev1, supersededAt: 1 });
        const { isUnused, ...known } = testBroker.certificateStatuses.get(serial) as CertificateStatus & {
          state: 'good';
        };
        testBroker.certificateStatuses.set(serial, known);
        return isUnused === true;
      },
      certificateStatus: async (_serial, known) => {
        asked += 1;
        return known;
      },
    });
    const [oldPair, nextPair] = [testBroker.enroll(dev1), testBroker.enroll(dev1)];
    [old.serial, next.serial] = [oldPair.serial, nextPair.serial];
    unproven(testBroker.certificateStatuses, next.serial);
    const before = await testBroker.session(oldPair, { clientId: 'dev-1' });
    await testBroker.session(nextPair, { clientId: 'dev-1' });
    await before.closed;
    expect(proven).toEqual([next.serial]);
    expect(await (await testBroker.open(oldPair)).connect({ clientId: 'dev-1' })).toBe(5);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'superseded' });
    asked = 0;
    await testBroker.session(nextPair, { clientId: 'dev-1' });
    expect([asked, proven.length]).toEqual([1, 1]); // what is proven costs no more than before
  });

  it('supersedes nothing before it has passed the last check', async () => {
    const proven: string[] = [];
    await start({ recordFirstUse: async (serial) => proven.push(serial) > 0 });
    const pair = testBroker.enroll(dev1);
    unproven(testBroker.certificateStatuses, pair.serial);
    expect(await (await testBroker.open(pair)).connect({ clientId: 'another' })).not.toBe(0);
    expect(proven).toEqual([]);
  });

  it('is refused when its device is revoked while its first use is recorded', async () => {
    await start({
      recordFirstUse: async (serial) => {
        testBroker.certificateStatuses.set(serial, {
          state: 'revoked',
          holder: dev1,
          revokedAt: 1,
          reason: 'keyCompromise',
        });
        return false;
      },
    });
    const pair = testBroker.enroll(dev1);
    unproven(testBroker.certificateStatuses, pair.serial);
    expect(await (await testBroker.open(pair)).connect({ clientId: 'dev-1' })).toBe(5);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'revoked' });
  });

  it('is accepted when its first use cannot be recorded', async () => {
    await start({ recordFirstUse: () => Promise.reject(new Error('disk full')) });
    const pair = testBroker.enroll(dev1);
    unproven(testBroker.certificateStatuses, pair.serial);
    await testBroker.session(pair, { clientId: 'dev-1' });
  });
});

describe('an unknown certificate status', () => {
  it('is refused', async () => {
    await start();
    const credentials = testBroker.enroll(dev1);
    testBroker.certificateStatuses.set(credentials.serial, {
      state: 'better-than-good',
      holder: dev1,
      notAfter: 1e15,
    } as never);
    const client = await testBroker.open(credentials);
    expect(await client.connect({ clientId: 'dev-1' })).toBe(5);
  });
});

describe('a device in quarantine', () => {
  it('stays connected, loses what quarantine does not allow, and may publish only its responses', async () => {
    await start();
    const listener = await testBroker.connectService('listener', {});
    await listener.subscribe('devices/+/telemetry/+', 'devices/+/responses/+');
    const client = await testBroker.session(testBroker.enroll(dev1), { clientId: 'dev-1' });
    await client.subscribe(commands, broadcast);
    await client.settled();
    quarantineInRegistry();
    expect(await testBroker.broker.reauthorize({ ...subject, isQuarantined: true })).toEqual({
      sessionsClosed: 0,
      lastMessageAt: undefined,
      ...CONFIRMED,
    });
    expect(await testBroker.event('acl_denied')).toMatchObject({
      verb: 'subscribe',
      topic: broadcast,
      why: 'withdrawn',
    });
    const commander = await testBroker.connectService('commander');
    await commander.publish('groups/default/broadcast/all', 'no', { qos: 1 });
    await commander.publish('devices/dev-1/commands/report/1', 'yes', { qos: 1 });
    await commander.settled();
    await client.publish('devices/dev-1/responses/1', 'here', { qos: 1, messageId: 1 });
    expect(messages(await client.settled())).toEqual(['devices/dev-1/commands/report/1 yes']);
    await client.publish(telemetry, 'x', { qos: 1, messageId: 2 });
    await client.closed;
    expect(await testBroker.event('disconnected', ({ clientId }) => clientId === 'dev-1')).toMatchObject({
      reason: 'acl_denied',
    });
    expect(messages(await listener.settled())).toEqual(['devices/dev-1/responses/1 here']);
    expect(testBroker.accepted).toEqual([]);
  });

  it('reconnects under the same rules, and its session ends when it is released, so that it subscribes anew', async () => {
    await start();
    const credentials = testBroker.enroll(dev1);
    const known = testBroker.certificateStatuses.get(credentials.serial) as CertificateStatus;
    quarantineInRegistry();
    const client = await testBroker.session(credentials, { clientId: 'dev-1' });
    expect(await client.subscribe(commands, broadcast)).toEqual([0, 128]);
    testBroker.certificateStatuses.set(credentials.serial, known);
    expect(await testBroker.broker.reauthorize(subject)).toMatchObject({ sessionsClosed: 1 });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'resumed' });
    const again = await testBroker.session(credentials, { clientId: 'dev-1' });
    await again.publish(telemetry, 'x', { qos: 1, messageId: 1 });
    await again.settled();
    expect(testBroker.accepted).toHaveLength(1);
  });

  it('may do what a set quarantine policy allows, also in a live session', async () => {
    await start({ policies: { 'quarantine/*': { ...DEFAULT_DEVICE_POLICY, subscribe: [], receive: [] } } });
    const credentials = testBroker.enroll(dev1);
    quarantineInRegistry();
    const client = await testBroker.session(credentials, { clientId: 'dev-1' });
    await client.publish(telemetry, 'x', { qos: 1, messageId: 1 });
    await client.settled();
    expect(testBroker.accepted).toHaveLength(1);
    testBroker.setPolicy('quarantine/*', { ...DEFAULT_DEVICE_POLICY, connect: [] });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'quarantined' });
  });

  it('is quarantined also when its connection was pending', async () => {
    await start();
    const client = await testBroker.open(testBroker.enroll(dev1));
    await new Promise((resolve) => setImmediate(resolve));
    quarantineInRegistry();
    await testBroker.broker.reauthorize({ ...subject, isQuarantined: true });
    expect(await client.connect({ clientId: 'dev-1' })).toBe(0);
    await client.publish(telemetry, 'x');
    await client.closed;
    expect(testBroker.accepted).toEqual([]);
  });
});

describe('a device of another group or with other labels', () => {
  const policies = {
    'group/pumps': { ...DEFAULT_DEVICE_POLICY, subscribe: ['sites/${device.labels.site}/#'], receive: ['sites/#'] },
  };

  it('gets its new rights at once: subscriptions that are not allowed any more are removed and reported', async () => {
    await start({ policies });
    const client = await testBroker.session(testBroker.enroll(dev1), { clientId: 'dev-1' });
    await client.subscribe(commands);
    await client.settled();
    const pumps = { ...subject, group: 'pumps' as GroupName, labels: { site: 'north' } };
    await testBroker.broker.reauthorize(pumps);
    expect(await testBroker.event('acl_denied')).toMatchObject({ topic: commands, why: 'withdrawn' });
    expect(await client.subscribe('sites/north/#', 'sites/south/#')).toEqual([0, 128]);
    await testBroker.broker.reauthorize({ ...pumps, labels: { site: 'south' } });
    expect(await testBroker.event('acl_denied', ({ topic }) => topic === 'sites/north/#')).toMatchObject({
      why: 'withdrawn',
    });
  });

  it('follows the policy of its new group when that changes later', async () => {
    await start({ policies });
    const client = await testBroker.session(testBroker.enroll(dev1), { clientId: 'dev-1' });
    await testBroker.broker.reauthorize({ ...subject, group: 'pumps' as GroupName });
    testBroker.setPolicy('group/pumps', { ...DEFAULT_DEVICE_POLICY, connect: [] });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'policy_changed' });
  });

  it('gets them while disconnected as well: nothing is queued for it that it may not receive any more', async () => {
    await start({ policies });
    const credentials = testBroker.enroll(dev1);
    const client = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    await client.subscribe({ topic: commands, qos: 1 });
    await client.settled();
    client.destroy();
    await testBroker.event('disconnected');
    const pumps = { ...subject, group: 'pumps' as GroupName };
    await testBroker.broker.reauthorize(pumps);
    testBroker.setPolicy('group/default', DEFAULT_DEVICE_POLICY); // concerns it no longer
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-1/commands/open/1', 'unlock', { qos: 1, messageId: 1 });
    await commander.settled();
    // Back in its old group: had the message been queued, it would come now.
    const again = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    expect(again.packets[0]).toMatchObject({ cmd: 'connack', sessionPresent: true });
    expect(messages(await again.settled())).toEqual([]);
  });
});
