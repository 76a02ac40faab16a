/** A device and a service that speak different versions of MQTT, in one conversation: telemetry, events, commands, answers, twin, wills. */

import type { IPublishPacket } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProtocolVersion, RawClient } from '../fixtures/broker/raw-client.ts';
import { device, service, TestBroker } from '../fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
beforeEach(async () => {
  testBroker = await TestBroker.start();
});
afterEach(() => testBroker.close());

const PAIRS: readonly (readonly [ofDevice: ProtocolVersion, ofService: ProtocolVersion])[] = [
  [4, 5],
  [5, 4],
  [5, 5],
  [4, 4],
];

/** Takes the next message and acknowledges it in full. */
async function take(client: RawClient): Promise<IPublishPacket> {
  const message = await client.nextOf('publish');
  if (message === undefined) throw new Error('expected a message before the end of the connection');
  client.acknowledge(message);
  if (message.qos === 2) {
    await client.nextOf('pubrel');
    client.send({ cmd: 'pubcomp', messageId: message.messageId as number });
  }
  return message;
}

async function release(client: RawClient, messageId: number): Promise<void> {
  await client.nextOf('pubrec');
  client.send({ cmd: 'pubrel', messageId });
}

const only5 = <Options>(version: ProtocolVersion, options: Options): Options | undefined =>
  version === 5 ? options : undefined;

describe.each(PAIRS)('a device of version %d and a service of version %d', (ofDevice, ofService) => {
  const isWhole = ofDevice === 5 && ofService === 5;
  const gateway = () => testBroker.connectDevice('dev-1', { protocolVersion: ofDevice });
  const backend = () => testBroker.connectService('backend', { protocolVersion: ofService });

  it('exchange telemetry of QoS 0, 1 and 2, in order', async () => {
    const receiver = await backend();
    await receiver.subscribe({ topic: 'devices/+/telemetry/+', qos: 2 });
    const sender = await gateway();
    for (const qos of [0, 1, 2] as const) {
      const properties = only5(ofDevice, { contentType: 'text/plain', userProperties: { n: String(qos) } });
      await sender.publish('devices/dev-1/telemetry/level', String(qos), {
        qos,
        messageId: qos + 1,
        ...(properties && { properties }),
      });
    }
    await release(sender, 3);
    for (const qos of [0, 1, 2] as const) {
      const message = await take(receiver);
      expect([message.topic, String(message.payload), message.qos]).toEqual([
        'devices/dev-1/telemetry/level',
        String(qos),
        qos,
      ]);
      if (isWhole) expect(message.properties).toMatchObject({ contentType: 'text/plain' });
      if (ofService === 4) expect(message).not.toHaveProperty('properties');
    }
    expect(testBroker.accepted.map(({ payload }) => String(payload))).toEqual(['0', '1', '2']);
  });

  it('exchange a command and its answer', async () => {
    const [caller, callee] = [await backend(), await gateway()];
    await caller.subscribe({ topic: 'devices/+/responses/+', qos: 1 });
    await callee.subscribe({ topic: 'devices/dev-1/commands/+/+', qos: 1 });
    const request = { responseTopic: 'devices/dev-1/responses/r1', correlationData: Buffer.from('r1') };
    const properties = only5(ofService, request);
    await caller.publish('devices/dev-1/commands/reboot/r1', 'now', { qos: 1, ...(properties && { properties }) });
    const command = await take(callee);
    expect([command.topic, String(command.payload)]).toEqual(['devices/dev-1/commands/reboot/r1', 'now']);
    if (isWhole) expect(command.properties).toMatchObject(request);
    const { responseTopic = 'devices/dev-1/responses/r1', correlationData } = command.properties ?? {};
    await callee.publish(responseTopic, 'done', {
      qos: 1,
      ...(correlationData && { properties: { correlationData } }),
    });
    const answer = await take(caller);
    expect([answer.topic, String(answer.payload)]).toEqual(['devices/dev-1/responses/r1', 'done']);
    if (isWhole) expect(answer.properties?.correlationData).toEqual(Buffer.from('r1'));
  });

  it('share retained messages, and a will', async () => {
    const sender = await testBroker.session(testBroker.enroll(device('dev-1')), {
      clientId: 'dev-1',
      protocolVersion: ofDevice,
      will: { topic: 'devices/dev-1/events/gone', payload: 'bye', qos: 1 },
    });
    await sender.publish('devices/dev-1/twin/reported', '{"on":true}', { qos: 1, retain: true });
    await sender.nextOf('puback');
    const receiver = await backend();
    await receiver.subscribe({ topic: 'devices/+/twin/reported', qos: 1 }, { topic: 'devices/+/events/+', qos: 1 });
    expect(await take(receiver)).toMatchObject({ topic: 'devices/dev-1/twin/reported', retain: true });
    sender.destroy();
    expect(await take(receiver)).toMatchObject({ topic: 'devices/dev-1/events/gone', payload: Buffer.from('bye') });
  });

  it('queue a message for the one that is away, which returns in the other version', async () => {
    const away = testBroker.enroll(service('away'));
    const connect = (protocolVersion: ProtocolVersion) =>
      testBroker.session(away, {
        clientId: 'away',
        protocolVersion,
        clean: false,
        ...(protocolVersion === 5 && { properties: { sessionExpiryInterval: 3_600 } }),
      });
    const first = await connect(ofService);
    await first.subscribe({ topic: 'devices/+/events/+', qos: 1 });
    first.disconnect();
    await first.closed;
    const sender = await gateway();
    await sender.publish('devices/dev-1/events/door', 'open', {
      qos: 1,
      ...(ofDevice === 5 && { properties: { contentType: 'text/plain' } }),
    });
    await sender.nextOf('puback');
    const back = await connect(ofService === 5 ? 4 : 5);
    expect(back.connack?.sessionPresent).toBe(true);
    const message = await take(back);
    expect([message.topic, String(message.payload)]).toEqual(['devices/dev-1/events/door', 'open']);
    if (ofDevice === 5 && ofService === 4) expect(message.properties).toMatchObject({ contentType: 'text/plain' });
  });
});
