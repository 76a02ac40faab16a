/** One device that names too many streams, against a real broker: it alone is refused, on every way that telemetry takes. */

import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { TelemetryMessage } from '../../telemetry/index.ts';
import { StreamLimit } from '../../telemetry/stream-limit.ts';
import { pubacks } from '../../test/fixtures/broker/received-packets.ts';
import { device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
let stored: string[];
beforeEach(async () => {
  stored = [];
  const store = ({ device: id, stream }: TelemetryMessage) => stored.push(`${id}/${stream}`);
  testBroker = await TestBroker.start({
    telemetry: {
      accept: async (message) => {
        store(message);
        return 'stored';
      },
      submit(message, waiting) {
        store(message);
        waiting.stored();
      },
      onPressure: () => () => {},
      streams: new StreamLimit({ max: 2, read: async () => [], log: pino({ level: 'silent' }) }),
    },
  });
});
afterEach(() => testBroker.close());

const topic = (stream: string) => `devices/dev-1/telemetry/${stream}`;

it.each([
  ['QoS 0', { qos: 0 }],
  ['QoS 1', { qos: 1 }],
  ['QoS 2', { qos: 2, messageId: 9 }],
] as const)('disconnects a device for one stream too many with %s, and goes on with those it has', async (_, about) => {
  const other = await testBroker.connectDevice('dev-2');
  const client = await testBroker.connectDevice('dev-1');
  for (const stream of ['a', 'b', 'a']) await client.publish(topic(stream), 'x', { qos: 1 });
  expect(pubacks(await client.settled())).toHaveLength(3);
  await client.publish(topic('c'), 'x', about);
  await client.closed;
  expect(await testBroker.event('disconnected')).toMatchObject({ clientId: 'dev-1', reason: 'limit_exceeded' });
  expect(await testBroker.event('share_exceeded')).toMatchObject({
    identity: device('dev-1'),
    share: { kept: 'streams', bound: 'own', stream: 'c', limit: 2 },
  });
  const again = await testBroker.connectDevice('dev-1');
  await again.publish(topic('b'), 'x', { qos: 1 });
  expect(pubacks(await again.settled())).toHaveLength(1);
  await other.publish('devices/dev-2/telemetry/c', 'x', { qos: 1 });
  expect(pubacks(await other.settled())).toHaveLength(1);
  expect(stored).toEqual(['dev-1/a', 'dev-1/b', 'dev-1/a', 'dev-1/b', 'dev-2/c']);
});

it('does not store a will on one stream too many', async () => {
  const will = { topic: topic('c'), payload: 'gone', qos: 1, retain: false } as const;
  const client = await testBroker.connectDevice('dev-1', { will });
  for (const stream of ['a', 'b']) await client.publish(topic(stream), 'x', { qos: 1 });
  await client.settled();
  client.destroy();
  await testBroker.event('share_exceeded');
  expect(stored).toEqual(['dev-1/a', 'dev-1/b']);
});

it('does not count a stream that the policy forbids', async () => {
  await testBroker.close();
  const asked: string[] = [];
  const publish = ['devices/${device.id}/telemetry/a'];
  testBroker = await TestBroker.start({
    policies: { 'group/default': { ...DEFAULT_DEVICE_POLICY, publish } },
    telemetry: {
      accept: async () => 'stored',
      submit: (_message, waiting) => waiting.stored(),
      onPressure: () => () => {},
      streams: { max: 2, admit: (_device, stream) => asked.push(stream) > 0 },
    },
  });
  const client = await testBroker.connectDevice('dev-1');
  for (const stream of ['a', 'a', 'b']) await client.publish(topic(stream), 'x', { qos: 1 });
  await client.closed;
  expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'acl_denied' });
  expect(asked).toEqual(['a']);
});
