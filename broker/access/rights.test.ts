/** The ACL as clients meet it: publish, subscribe, receive, retain, and wills. */

import { Writable } from 'node:stream';
import { DEFAULT_DEVICE_POLICY, DEFAULT_SERVICE_POLICY } from '@rollcall/protocol';
import mqttPacket from 'mqtt-packet';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { messages } from '../../test/fixtures/broker/received-packets.ts';
import {
  DEFAULT,
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

/** A service that hears everything it may. */
async function listen(name = 'listener', qos: 0 | 1 = 0): Promise<RawClient> {
  const client = await testBroker.connectService(name);
  const filters = DEFAULT_SERVICE_POLICY.subscribe.map((topic) => ({ topic, qos }));
  expect(await client.subscribe(...filters)).toEqual(filters.map(() => qos));
  return client;
}

describe('publishing', () => {
  it('own telemetry is stored, then acknowledged, then delivered', async () => {
    await start();
    const listener = await listen();
    const client = await testBroker.connectDevice('dev-1');
    await client.publish('devices/dev-1/telemetry/temp', '21', { qos: 1, messageId: 9 });
    expect(await client.next()).toMatchObject({ cmd: 'puback', messageId: 9 });
    expect(testBroker.accepted).toMatchObject([
      { device: 'dev-1', stream: 'temp', qos: 1, payload: Buffer.from('21') },
    ]);
    expect(messages(await listener.settled())).toEqual(['devices/dev-1/telemetry/temp 21']);
  });

  it('events and responses reaches subscribers and is not telemetry', async () => {
    await start();
    const listener = await listen();
    const client = await testBroker.connectDevice('dev-1');
    await client.publish('devices/dev-1/events/door', 'open', { qos: 1 });
    await client.publish('devices/dev-1/responses/r1', 'ok', { qos: 2, messageId: 2 });
    await client.settled();
    expect(messages(await listener.settled())).toEqual([
      'devices/dev-1/events/door open',
      'devices/dev-1/responses/r1 ok',
    ]);
    expect(testBroker.accepted).toEqual([]);
  });

  for (const qos of [0, 1, 2] as const) {
    it.each([
      'devices/dev-2/telemetry/temp',
      'devices/dev-1/commands/reboot/1',
      'devices/dev-1/telemetry/a/b/c',
      'devices/dev-1/telemetry/a/b!',
      'devices/dev-2/telemetry/temp/k1',
      'groups/default/broadcast/x',
      '$SYS/x/new/clients',
      '$fleet/events/x',
      '$share/g/devices/dev-1/telemetry/temp',
    ])(`with QoS ${qos} to %s closes the connection, and nobody hears or keeps it`, async (topic) => {
      await start();
      const listener = await listen();
      const victim = await testBroker.connectDevice('dev-2');
      await victim.subscribe('devices/dev-2/commands/+/+', 'groups/default/broadcast/+');
      const client = await testBroker.connectDevice('dev-1');
      await client.publish(topic, 'x', { qos });
      await client.closed;
      expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack']);
      expect(messages(await listener.settled())).toEqual([]);
      expect(messages(await victim.settled())).toEqual([]);
      expect(testBroker.accepted).toEqual([]);
      expect(testBroker.broker.counters().retained).toBe(0);
      expect(await testBroker.event('acl_denied')).toMatchObject({ identity: device('dev-1'), verb: 'publish', topic });
      expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'acl_denied' });
    });
  }

  it('a refused message: earlier ones are stored and acknowledged, later ones are not', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    await client.publish('devices/dev-1/telemetry/temp', 'before', { qos: 1, messageId: 1 });
    expect(await client.next()).toMatchObject({ cmd: 'puback' });
    await client.publish('devices/dev-2/telemetry/temp', 'x', { qos: 1, messageId: 2 });
    await client.publish('devices/dev-1/telemetry/temp', 'after', { qos: 1, messageId: 3 });
    await client.closed;
    expect(testBroker.accepted.map(({ payload }) => payload.toString())).toEqual(['before']);
  });

  it('with the retain flag needs the right to retain', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    await client.publish('devices/dev-1/telemetry/temp', 'x', { retain: true });
    await client.closed;
    expect(testBroker.broker.counters().retained).toBe(0);
    expect(testBroker.accepted).toEqual([]);
    expect(await testBroker.event('acl_denied')).toMatchObject({ verb: 'retain' });
  });

  it('retained messages are bounded per identity', async () => {
    const policy = { ...DEFAULT_DEVICE_POLICY, retain: ['devices/${device.id}/events/+'] };
    await start({ policies: { 'group/default': policy }, limits: { retained: 3 } });
    const client = await testBroker.connectDevice('dev-1');
    for (const type of ['a', 'b', 'c', 'a'])
      await client.publish(`devices/dev-1/events/${type}`, 'x', { retain: true });
    await client.settled();
    expect(testBroker.broker.counters().retained).toBe(3);
    await client.publish('devices/dev-1/events/d', 'x', { retain: true });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'limit_exceeded' });
    expect(testBroker.broker.counters().retained).toBe(3);
  });
});

describe('subscribing', () => {
  it('is answered filter by filter', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    const granted = await client.subscribe(
      'devices/dev-1/commands/+/+',
      'devices/dev-2/commands/+/+',
      '#',
      '$share/g/devices/dev-2/commands/+/+',
      '$queue/devices/dev-1/commands/+/+',
      '$SYS/#',
      { topic: 'groups/default/broadcast/+', qos: 1 },
    );
    expect(granted).toEqual([0, 128, 128, 128, 128, 128, 1]);
    const denied = testBroker.events.filter(({ type }) => type === 'acl_denied');
    expect(denied).toHaveLength(5);
  });

  it('repeatedly without the right to does not flood the log', async () => {
    let lines = 0;
    const sink = new Writable({
      write(_chunk, _encoding, done) {
        lines += 1;
        done();
      },
    });
    await start({ log: pino({ level: 'warn' }, sink), limits: { refusalLogsPerMinute: 3 } });
    const client = await testBroker.connectDevice('dev-1');
    for (let n = 0; n < 10; n += 1) expect(await client.subscribe('#', 'devices/#')).toEqual([128, 128]);
    expect(lines).toBe(3);
    expect(testBroker.broker.counters().subscribe_denied).toBe(20);
  });

  it('with a narrow filter delivers nothing of a wider one', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    await client.subscribe('#', '+/+/+/+', 'devices/#', 'devices/dev-1/commands/+/+');
    const other = await testBroker.connectDevice('dev-2');
    await other.publish('devices/dev-2/telemetry/temp', 'secret', { qos: 1 });
    await other.settled();
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-2/commands/reboot/1', 'x');
    await commander.publish('devices/dev-1/commands/reboot/1', 'mine');
    await commander.settled();
    expect(messages(await client.settled())).toEqual(['devices/dev-1/commands/reboot/1 mine']);
  });

  it('with overlapping filters delivers one copy', async () => {
    await start();
    const client = await testBroker.connectService('listener');
    await client.subscribe(
      'devices/+/events/+',
      'devices/dev-1/events/+',
      'devices/+/events/door',
      'devices/dev-1/events/door',
    );
    const publisher = await testBroker.connectDevice('dev-1');
    for (const payload of ['1', '2', '3']) await publisher.publish('devices/dev-1/events/door', payload, { qos: 1 });
    await publisher.settled();
    expect(messages(await client.settled())).toEqual(['1', '2', '3'].map((n) => `devices/dev-1/events/door ${n}`));
  });

  it('with different QoS levels loses nothing', async () => {
    const policy = { ...DEFAULT_DEVICE_POLICY, retain: ['devices/${device.id}/events/+'] };
    await start({ policies: { 'group/default': policy } });
    const listener = await listen('listener', 1);
    const publisher = await testBroker.connectDevice('dev-1');
    const sent = Array.from({ length: 30 }, (_, index) => String(index));
    for (const n of sent) {
      const qos = (Number(n) % 3) as 0 | 1 | 2;
      await publisher.publish('devices/dev-1/events/door', n, {
        qos,
        retain: Number(n) % 4 === 0,
        messageId: Number(n) + 1,
      });
    }
    await publisher.settled();
    const heard = messages(await listener.settled()).map((text) => text.split(' ')[1]);
    expect(heard.toSorted((a, b) => Number(a) - Number(b))).toEqual(sent);
  });

  it('loses no message to a later one while it is being retained', async () => {
    const policy = { ...DEFAULT_DEVICE_POLICY, retain: ['devices/${device.id}/events/+'] };
    await start({ policies: { 'group/default': policy } });
    const listener = await listen();
    const publisher = await testBroker.connectDevice('dev-1');
    const publish = (payload: string, retain: boolean) =>
      mqttPacket.generate({ cmd: 'publish', topic: 'devices/dev-1/events/door', payload, retain, qos: 0, dup: false });
    publisher.send(Buffer.concat([publish('1', true), publish('2', false), publish('3', true), publish('4', false)]));
    await publisher.settled();
    expect(messages(await listener.settled()).toSorted()).toEqual(
      ['1', '2', '3', '4'].map((n) => `devices/dev-1/events/door ${n}`),
    );
  });

  it('delivers retained messages, and only those that may be received', async () => {
    await start({
      policies: { 'service/blind': { ...DEFAULT_SERVICE_POLICY, receive: ['devices/+/telemetry/+'] } },
    });
    const client = await testBroker.connectDevice('dev-1');
    await client.publish('devices/dev-1/twin/reported', 'state', { retain: true });
    await client.settled();
    const seeing = await testBroker.connectService('seeing');
    await seeing.subscribe('devices/+/twin/reported');
    expect(messages(await seeing.settled())).toEqual(['devices/dev-1/twin/reported state']);
    const blind = await testBroker.connectService('blind');
    expect(await blind.subscribe('devices/+/twin/reported')).toEqual([0]);
    expect(messages(await blind.settled())).toEqual([]);
  });

  it('gives services the events of the fleet and the server alone writes them', async () => {
    await start();
    const listener = await listen();
    const client = await testBroker.connectDevice('dev-1');
    expect(await client.subscribe('$fleet/events/#')).toEqual([128]);
    await testBroker.broker.publish('$fleet/events/presence/connected/dev-1', Buffer.from('hello'), 1);
    expect(messages(await listener.settled())).toEqual(['$fleet/events/presence/connected/dev-1 hello']);
    expect(messages(await client.settled())).toEqual([]);
    await client.publish('$fleet/events/presence/connected/dev-1', 'forged');
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'acl_denied' });
    expect(messages(await listener.settled())).toEqual([]);
  });
});

describe('a filter that was refused', () => {
  it('is not stored with those that were granted, and delivers nothing after a reconnect', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    const granted = await first.subscribe(
      { topic: 'devices/dev-1/commands/+/+', qos: 1 },
      { topic: 'devices/+/telemetry/+', qos: 1 },
      { topic: 'devices/dev-2/commands/+/+', qos: 1 },
    );
    expect(granted).toEqual([1, 128, 128]);
    first.destroy();
    await testBroker.event('disconnected');

    const other = await testBroker.connectDevice('dev-2');
    await other.publish('devices/dev-2/telemetry/temp', 'secret', { qos: 1 });
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-2/commands/reboot/1', 'secret', { qos: 1 });
    await commander.publish('devices/dev-1/commands/reboot/1', 'mine', { qos: 1, messageId: 2 });
    await Promise.all([other.settled(), commander.settled()]);

    const again = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    expect(messages(await again.settled())).toEqual(['devices/dev-1/commands/reboot/1 mine']);
    await commander.publish('devices/dev-2/commands/reboot/2', 'secret', { qos: 1, messageId: 3 });
    await commander.settled();
    expect(messages(await again.settled())).toEqual([]);
  });
});

describe('a will', () => {
  it('is published when the connection is lost', async () => {
    await start();
    const listener = await listen();
    const client = await testBroker.connectDevice('dev-1', {
      will: { topic: 'devices/dev-1/events/gone', payload: 'bye' },
    });
    client.destroy();
    expect(await listener.next()).toMatchObject({ topic: 'devices/dev-1/events/gone', payload: Buffer.from('bye') });
  });

  it('to a telemetry topic is stored like telemetry', async () => {
    await start();
    const listener = await listen();
    const client = await testBroker.connectDevice('dev-1', {
      will: { topic: 'devices/dev-1/telemetry/state', payload: 'off', qos: 1 },
    });
    client.destroy();
    expect(await listener.next()).toMatchObject({ topic: 'devices/dev-1/telemetry/state' });
    expect(testBroker.accepted).toMatchObject([{ stream: 'state', payload: Buffer.from('off') }]);
  });

  it('is not published after DISCONNECT', async () => {
    await start();
    const listener = await listen();
    const client = await testBroker.connectDevice('dev-1', {
      will: { topic: 'devices/dev-1/events/gone', payload: 'bye' },
    });
    client.send({ cmd: 'disconnect' });
    await client.closed;
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'client_disconnected' });
    expect(await listener.settled()).toEqual([]);
  });

  it.each([
    [{ topic: 'devices/dev-2/events/gone', payload: 'x' }],
    [{ topic: 'devices/dev-2/telemetry/temp', payload: 'x', qos: 2 as const }],
    [{ topic: '$SYS/a', payload: 'x' }],
    [{ topic: '$fleet/events/a', payload: 'x' }],
    [{ topic: 'devices/dev-1/events/gone', payload: 'x', retain: true }],
  ])('that its client may not publish refuses the connection: %j', async (will) => {
    await start();
    const client = await testBroker.open(testBroker.enroll(device('dev-1')));
    expect(await client.connect({ clientId: 'dev-1', will })).toBe(5);
    expect(await testBroker.event('connect_failed')).toMatchObject({ reason: 'will_not_allowed' });
  });

  it('is authorized again when it is published', async () => {
    await start();
    const listener = await listen();
    const client = await testBroker.connectDevice('dev-1', {
      will: { topic: 'devices/dev-1/events/gone', payload: 'bye' },
    });
    testBroker.setPolicy('group/default', { ...DEFAULT_DEVICE_POLICY, publish: ['devices/${device.id}/telemetry/+'] });
    await client.settled();
    client.destroy();
    await testBroker.event('disconnected');
    expect(await listener.settled()).toEqual([]);
  });
});

describe('an explanation', () => {
  it('names the policy and the rule, or the reason for the denial', async () => {
    await start();
    const subject = { identity: device('dev-1'), group: DEFAULT, labels: {} };
    expect(await testBroker.broker.explain(subject, 'publish', 'devices/dev-1/telemetry/a')).toEqual({
      allowed: true,
      source: 'built-in',
      rule: 'devices/${device.id}/telemetry/+',
    });
    testBroker.setPolicy('group/default', { ...DEFAULT_DEVICE_POLICY, publish: [] });
    expect(await testBroker.broker.explain(subject, 'publish', 'devices/dev-1/telemetry/a')).toEqual({
      allowed: false,
      source: 'group/default',
      reason: 'no_rule',
    });
    const visitor = { identity: service('x'), group: DEFAULT, labels: {} };
    expect(await testBroker.broker.explain(visitor, 'subscribe', '$SYS/#')).toMatchObject({ reason: 'topic_reserved' });
    expect(await testBroker.broker.explain(visitor, 'subscribe', '$share/g/$SYS/#')).toMatchObject({
      reason: 'topic_reserved',
    });
  });
});
