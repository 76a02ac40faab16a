/** Messages with a key, against a real broker: the key is gone when the message is stored, and a repeated one is only acknowledged. */

import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import mqttPacket from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const plain = 'devices/dev-1/telemetry/temp';
const keyed = (key: string) => `${plain}/${key}`;
const retaining = {
  policies: {
    'group/default': { ...DEFAULT_DEVICE_POLICY, retain: ['devices/${device.id}/telemetry/+'] },
  },
};

const stored = () => testBroker.accepted.map(({ stream, key, payload, qos }) => `${stream} ${key} ${payload} ${qos}`);

type Client = Awaited<ReturnType<TestBroker['connectDevice']>>;

/** What came until the client had nothing more to say: topic, payload and RETAIN of each message. */
async function heard(client: Client): Promise<string[]> {
  const packets = await client.settled();
  return packets.flatMap((packet) =>
    packet.cmd === 'publish' ? [`${packet.topic} ${packet.payload}${packet.retain ? ' retained' : ''}`] : [],
  );
}

const publish = (
  client: Client,
  topic: string,
  messageId: number,
  about: { qos?: 0 | 1 | 2; retain?: boolean } = {},
) => {
  const { qos = 1, retain = false } = about;
  const id = qos === 0 ? {} : { messageId };
  client.send(mqttPacket.generate({ cmd: 'publish', topic, payload: 'x', qos, dup: false, retain, ...id }));
};

const acknowledgements = (client: Client) =>
  client.packets.flatMap((packet) =>
    packet.cmd === 'puback' || packet.cmd === 'pubrec' ? [`${packet.cmd} ${packet.messageId}`] : [],
  );

describe('a message with a key', () => {
  it('is stored with it, and reaches subscribers as it would without', async () => {
    await start();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    const client = await testBroker.connectDevice('dev-1');
    publish(client, keyed('k1'), 1);
    publish(client, plain, 2);
    publish(client, keyed('k2'), 3, { qos: 2 });
    await client.settled();
    expect(stored()).toEqual(['temp k1 x 1', 'temp undefined x 1', 'temp k2 x 2']);
    expect(await heard(listener)).toEqual([`${plain} x`, `${plain} x`, `${plain} x`]);
  });

  it.each([0, 1, 2] as const)('and QoS %i that was stored before is acknowledged, and nothing else', async (qos) => {
    await start();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    const first = await testBroker.connectDevice('dev-1');
    publish(first, keyed('k1'), 1, { qos });
    await first.settled();
    const again = await testBroker.connectDevice('dev-1');
    publish(again, keyed('k1'), 7, { qos });
    publish(again, keyed('k2'), 8, { qos });
    await again.settled();
    const word = qos === 2 ? 'pubrec' : 'puback';
    expect(acknowledgements(again)).toEqual(qos === 0 ? [] : [`${word} 7`, `${word} 8`]);
    expect(stored()).toEqual([`temp k1 x ${qos}`, `temp k2 x ${qos}`]);
    expect(await heard(listener)).toHaveLength(2);
    expect(testBroker.broker.counters()).toMatchObject({ messages_received: 3, messages_accepted: 2 });
  });

  it('is the same in another stream of its device, and another one on another device', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    const other = await testBroker.connectDevice('dev-2');
    publish(client, keyed('k1'), 1);
    publish(client, 'devices/dev-1/telemetry/other/k1', 2);
    publish(other, 'devices/dev-2/telemetry/temp/k1', 1);
    await client.settled();
    await other.settled();
    expect(testBroker.accepted.map(({ device: of, stream }) => `${of} ${stream}`)).toEqual([
      'dev-1 temp',
      'dev-2 temp',
    ]);
  });

  it('is queued once for a disconnected session, whether it is sent again before or after that', async () => {
    await start();
    const away = await testBroker.connectService('reader', { clean: false });
    await away.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    away.destroy();
    await testBroker.event('disconnected');
    const client = await testBroker.connectDevice('dev-1');
    for (const [messageId, qos] of [1, 2].entries())
      publish(client, keyed(`k${qos}`), messageId + 1, { qos: qos as 1 | 2 });
    await client.settled();
    for (const [messageId, qos] of [1, 2].entries())
      publish(client, keyed(`k${qos}`), messageId + 7, { qos: qos as 1 | 2 });
    await client.settled();
    expect(acknowledgements(client)).toEqual(['puback 1', 'pubrec 2', 'puback 7', 'pubrec 8']);
    const back = await testBroker.connectService('reader', { clean: false });
    expect(await heard(back)).toEqual([`${plain} x`, `${plain} x`]);
  });

  it('is retained under the topic without it', async () => {
    await start(retaining);
    const client = await testBroker.connectDevice('dev-1');
    publish(client, keyed('k1'), 1, { retain: true });
    await client.settled();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    expect(await heard(listener)).toEqual([`${plain} x retained`]);
    expect(stored()).toEqual(['temp k1 x 1']);
  });

  it('is the same as a will, and one that was sent before is not delivered again', async () => {
    await start();
    const listener = await testBroker.connectService('listener');
    await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    const credentials = testBroker.enroll(device('dev-1'));
    const connect = (key: string) =>
      testBroker.session(credentials, { clientId: 'dev-1', will: { topic: keyed(key), payload: 'off', qos: 1 } });
    (await connect('k1')).destroy();
    expect(await listener.next()).toMatchObject({ cmd: 'publish', topic: plain, payload: Buffer.from('off') });
    const again = await connect('k1');
    publish(again, keyed('k1'), 1);
    await again.settled();
    again.destroy();
    await testBroker.event(
      'disconnected',
      (event) => testBroker.events.filter(({ type }) => type === event.type).length === 2,
    );
    (await connect('k2')).destroy();
    expect(await listener.next()).toMatchObject({ cmd: 'publish', topic: plain, payload: Buffer.from('off') });
    expect(await heard(listener)).toEqual([]);
    expect(stored()).toEqual(['temp k1 off 1', 'temp k2 off 1']);
  });

  it('that was stored but not delivered, since its sender was disconnected, is delivered when it is sent again', async () => {
    let answer: (() => void) | undefined;
    let isFirst = true;
    const asked = Promise.withResolvers<void>();
    await start({
      accept: async () => {
        if (!isFirst) return;
        isFirst = false;
        await new Promise<void>((resolve) => {
          answer = resolve;
          asked.resolve();
        });
      },
    });
    const listener = await testBroker.connectService('listener');
    await listener.subscribe({ topic: 'devices/+/telemetry/+', qos: 1 });
    const client = await testBroker.connectDevice('dev-1');
    publish(client, keyed('k1'), 1);
    await asked.promise;
    await testBroker.broker.disconnect(device('dev-1'), 'suspended');
    answer?.();
    const again = await testBroker.connectDevice('dev-1');
    publish(again, keyed('k1'), 1);
    publish(again, keyed('k1'), 2);
    await again.settled();
    expect(acknowledgements(again)).toEqual(['puback 1', 'puback 2']);
    expect(stored()).toEqual(['temp k1 x 1']);
    expect(await heard(listener)).toEqual([`${plain} x`]);
  });

  it('that is not a valid topic level is refused as a topic that may not be written', async () => {
    await start({
      policies: { 'group/default': { ...DEFAULT_DEVICE_POLICY, publish: ['devices/${device.id}/#'] } },
    });
    const client = await testBroker.connectDevice('dev-1');
    publish(client, keyed('no key'), 1);
    await client.closed;
    expect(await testBroker.event('acl_denied')).toMatchObject({ topic: keyed('no key'), why: 'topic_malformed' });
    expect(testBroker.accepted).toEqual([]);
  });
});
