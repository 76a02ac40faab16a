/** Devices over their share of the journal, against a real broker: what of theirs waits, and when it goes on. */

import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import type { TelemetryMessage } from '../../telemetry/index.ts';
import { pubacks } from '../../test/fixtures/broker/received-packets.ts';
import { storedWill } from '../../test/fixtures/broker/stored-will.ts';
import { DEFAULT, device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import type { TelemetryIntake } from '../routing/telemetry-intake.ts';

let testBroker: TestBroker;
afterEach(() => testBroker.close());

const topic = 'devices/dev-1/telemetry/state';

function intake(isHeld: () => boolean, stored: TelemetryMessage[]): TelemetryIntake {
  return {
    accept: async (message) => {
      stored.push(message);
      return 'stored';
    },
    submit(message, waiting) {
      stored.push(message);
      waiting.stored();
    },
    onPressure: () => () => {},
    shares: { isHeld, listen: () => () => {} },
  };
}

it('a telemetry will of a device over its share is not stored', async () => {
  const stored: TelemetryMessage[] = [];
  testBroker = await TestBroker.start({ telemetry: intake(() => true, stored) });
  const listener = await testBroker.connectService('listener');
  await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
  const client = await testBroker.connectDevice('dev-1', { will: { topic, payload: 'gone', qos: 1 } });
  client.destroy();
  await testBroker.event('disconnected', ({ clientId }) => clientId === 'dev-1');
  expect(await listener.settled()).toEqual([]);
  expect(stored).toEqual([]);
});

it('a pending will of an earlier run of a device over its share is not stored', async () => {
  const stored: TelemetryMessage[] = [];
  const sessionFile = join(temporaryDirectory(), 'sessions.db');
  testBroker = await TestBroker.start({ sessionFile });
  const about = { owner: 'device/dev-1', subject: { identity: device('dev-1'), group: DEFAULT, labels: {} } };
  const will = { topic, payload: Buffer.from('gone'), qos: 1, retain: false } as const;
  testBroker.sessions.store.putWill('dev-1', storedWill(will, about));
  await testBroker.close();
  testBroker = await TestBroker.start({ sessionFile, telemetry: intake(() => true, stored) });
  const listener = await testBroker.connectService('listener');
  await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
  await testBroker.connectDevice('dev-1');
  expect(await listener.settled()).toEqual([]);
  expect([...testBroker.sessions.store.wills()]).toEqual([]);
  expect(stored).toEqual([]);
});

it('a device is read again when its share allows it, without a notification', async () => {
  let isHeld = true;
  const stored: TelemetryMessage[] = [];
  testBroker = await TestBroker.start({ telemetry: intake(() => isHeld, stored), limits: { sweepInterval: 10 } });
  const client = await testBroker.connectDevice('dev-1');
  client.send({ cmd: 'publish', topic, payload: 'x', qos: 1, messageId: 7, dup: false, retain: false });
  const other = await testBroker.connectService('other');
  await other.settled();
  expect(stored).toEqual([]);
  isHeld = false; // it was moved to another group
  expect(pubacks([(await client.next()) as never])).toEqual([7]);
  expect(stored).toHaveLength(1);
});
