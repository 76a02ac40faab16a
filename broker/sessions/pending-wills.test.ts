/** Wills of connections that ended with an earlier run of the server, published when their clients come back. */

import { join } from 'node:path';
import { DEFAULT_DEVICE_POLICY, type PolicyDocument } from '@rollcall/protocol';
import type { Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { DEFAULT, device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import type { WillPacket } from '../session-store/stored-wills.ts';

let testBroker: TestBroker;
afterEach(() => testBroker?.close());

const state = 'devices/dev-1/telemetry/state';
const subject = { identity: device('dev-1'), group: DEFAULT, labels: {} };

/** A broker that finds the will of a client that was connected when the one before it ended without a word. */
async function startAfter(
  will: Omit<WillPacket, 'payload'>,
  policy: PolicyDocument = DEFAULT_DEVICE_POLICY,
): Promise<RawClient> {
  const sessionFile = join(temporaryDirectory(), 'sessions.db');
  testBroker = await TestBroker.start({ sessionFile });
  const about = JSON.stringify({ owner: 'device/dev-1', subject });
  await testBroker.sessions.store.putWill({ id: 'dev-1' }, { ...will, payload: Buffer.from('off') }, about);
  await testBroker.close();
  testBroker = await TestBroker.start({ sessionFile, policies: { 'group/default': policy } });
  const listener = await testBroker.connectService('listener');
  await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
  return listener;
}

const heard = (packets: readonly Packet[]) =>
  packets.flatMap((packet) => (packet.cmd === 'publish' ? [`${packet.topic} ${packet.payload} ${packet.qos}`] : []));
const stored = () => testBroker.accepted.map(({ stream, key, payload, qos }) => `${stream} ${key} ${payload} ${qos}`);

describe('a pending will', () => {
  it.each([0, 1, 2] as const)(
    'with a key and QoS %i is stored with it, and reaches subscribers without',
    async (qos) => {
      const listener = await startAfter({ topic: `${state}/k1`, qos, retain: false });
      expect(testBroker.accepted).toEqual([]);
      await testBroker.connectDevice('dev-1');
      expect(heard([(await listener.next()) as Packet])).toEqual([`${state} off ${Math.min(qos, 1)}`]);
      expect(stored()).toEqual([`state k1 off ${qos}`]);
      expect(testBroker.sessions.store.pendingWills()).toEqual([]);
    },
  );

  it('with a key is the message that its client sends under the same one', async () => {
    const listener = await startAfter({ topic: `${state}/k1`, qos: 1, retain: false });
    const client = await testBroker.connectDevice('dev-1');
    expect(heard([(await listener.next()) as Packet])).toEqual([`${state} off 1`]);
    await client.publish(`${state}/k1`, 'off', { qos: 1, messageId: 1 });
    await client.publish(`${state}/k2`, 'on', { qos: 1, messageId: 2 });
    expect((await client.settled()).map(({ messageId }) => messageId)).toEqual([1, 2]);
    expect(heard(await listener.settled())).toEqual([`${state} on 1`]);
    expect(stored()).toEqual(['state k1 off 1', 'state k2 on 1']);
  });

  it('with a key is retained under the topic without it', async () => {
    const retaining = { ...DEFAULT_DEVICE_POLICY, retain: ['devices/${device.id}/telemetry/+'] };
    const listener = await startAfter({ topic: `${state}/k1`, qos: 1, retain: true }, retaining);
    await testBroker.connectDevice('dev-1');
    expect(heard([(await listener.next()) as Packet])).toEqual([`${state} off 1`]);
    expect(testBroker.broker.counters()).toMatchObject({ retained: 1 });
    const late = await testBroker.connectService('late');
    await late.subscribe({ topic: state, qos: 1 });
    expect(await late.next()).toMatchObject({ cmd: 'publish', topic: state, retain: true });
  });

  it.each([
    ['a foreign topic', { topic: 'devices/dev-2/telemetry/state', retain: false }],
    ['a key, to be retained where it may not', { topic: `${state}/k1`, retain: true }],
  ])('with %s is not published', async (_, will) => {
    const listener = await startAfter({ ...will, qos: 1 });
    const client = await testBroker.connectDevice('dev-1');
    await client.settled();
    expect(heard(await listener.settled())).toEqual([]);
    expect(stored()).toEqual([]);
    expect(testBroker.sessions.store.pendingWills()).toEqual([]);
  });
});
