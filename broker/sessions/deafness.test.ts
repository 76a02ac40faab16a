/** A node that others do not know of any more: what it leaves undone, and that it goes on where it stopped. */

import mqttPacket from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import type { NodeBroker } from '../broker.ts';

const COMMAND = 'devices/dev-1/commands/reboot/r-1';
const policies = {
  'service/*': { connect: ['*'], publish: ['devices/+/commands/+/+'], subscribe: ['#'], receive: ['#'], retain: [] },
};

// A server of several threads is one node to others; its threads are not.
describe.skipIf(process.env.ROLLCALL_TEST_NODES !== undefined)('while a node is deaf', () => {
  let testBroker: TestBroker;
  let broker: NodeBroker;
  let client: RawClient;
  beforeEach(async () => {
    testBroker = await TestBroker.start({ policies });
    broker = testBroker.broker as NodeBroker;
    client = await testBroker.connectDevice('dev-1');
    await client.subscribe('devices/dev-1/commands/+/+');
  });
  afterEach(() => testBroker.close());

  const publish = (messageId: number) =>
    client.send(
      mqttPacket.generate({
        ...{ cmd: 'publish', topic: 'devices/dev-1/telemetry/temp', payload: String(messageId), qos: 1, messageId },
        ...{ dup: false, retain: false },
      }),
    );
  const command = () => broker.send({ topic: COMMAND, payload: Buffer.from('now'), qos: 1 });

  it('it reads, acknowledges and delivers nothing and accepts nobody, and then does all of it', async () => {
    const before = client.packets.length;
    broker.setDeaf(true);
    publish(1);
    await command();
    await expect(testBroker.connectDevice('dev-2')).rejects.toThrow();
    expect([testBroker.accepted, client.packets.length, client.socket.closed]).toEqual([[], before, false]);
    broker.setDeaf(false);
    const seen = [await client.next(), await client.next()].map((packet) => packet?.cmd);
    expect(seen.toSorted()).toEqual(['puback', 'publish']);
    expect(testBroker.accepted.map(({ payload }) => String(payload))).toEqual(['1']);
    await testBroker.connectDevice('dev-2');
  });

  it('a device that is revoked meanwhile gets nothing of what waits for it', async () => {
    broker.setDeaf(true);
    await command();
    testBroker.revokeInRegistry(device('dev-1'));
    await broker.disconnect(device('dev-1'), 'revoked');
    broker.setDeaf(false);
    await client.closed;
    expect(client.packets.map(({ cmd }) => cmd)).not.toContain('publish');
  });

  it('its connections are closed when it is told to, and new ones are accepted once it is heard', async () => {
    broker.setDeaf(true);
    broker.closeSessions();
    await client.closed;
    broker.setDeaf(false);
    await testBroker.connectDevice('dev-1');
  });
});
