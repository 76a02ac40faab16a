/** With which QoS a message reaches a client whose filters overlap: live, queued, sent again and retained. */

import { join } from 'node:path';
import type { Packet } from 'mqtt-packet';
import mqttPacket from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { device, service, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import type { Qos } from '../mqtt/packets.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const exact = 'devices/dev-1/commands/a/1';
const one = 'devices/dev-1/commands/+/1';
const all = 'devices/dev-1/commands/+/+';
const other = 'devices/dev-1/commands/b/+';

const filter = (topic: string, qos: Qos) => ({ topic, qos });
const received = (packets: readonly Packet[]) =>
  packets.flatMap((packet) =>
    packet.cmd === 'publish' ? [{ payload: String(packet.payload), qos: packet.qos, retain: packet.retain }] : [],
  );
const live = (payload: string, qos: Qos) => ({ payload, qos, retain: false });
const inQueue = (clientId: string) => testBroker.sessions.store.queueOf(clientId, { isStored: true }).size;

/** Publishes with each QoS, and ends the handshake of the last. */
async function publishAll(publisher: RawClient, topic = exact): Promise<void> {
  for (const qos of [0, 1, 2] as const) await publisher.publish(topic, String(qos), { qos, messageId: 10 + qos });
  await publisher.settled();
  publisher.send({ cmd: 'pubrel', messageId: 12 });
  await publisher.settled();
}

/** What the client gets of {@link publishAll}: QoS 2 is sent after its packet identifier is stored. */
async function receiveAll(client: RawClient, count: number): Promise<ReturnType<typeof received>> {
  const got = received(await client.settled());
  while (got.length < count) got.push(...received([(await client.next()) as Packet]));
  return [...got, ...received(await client.settled())];
}

async function gone(client: RawClient): Promise<void> {
  const { length } = testBroker.events;
  client.destroy();
  await testBroker.event('disconnected', (event) => testBroker.events.indexOf(event) >= length);
}

const orders: readonly (readonly [string, readonly (readonly [string, Qos])[], Qos])[] = [
  [
    'the lowest first',
    [
      [exact, 0],
      [one, 1],
      [all, 2],
    ],
    2,
  ],
  [
    'the highest first',
    [
      [all, 2],
      [one, 1],
      [exact, 0],
    ],
    2,
  ],
  [
    'the highest not matching',
    [
      [other, 2],
      [exact, 0],
      [all, 1],
    ],
    1,
  ],
  [
    'all with QoS 0',
    [
      [exact, 0],
      [all, 0],
    ],
    0,
  ],
  ['one wildcard with QoS 1', [[all, 1]], 1],
];

describe('a message that several filters of one client match', () => {
  describe.each([['clean', true] as const, ['persistent', false] as const])('in a %s session', (_, clean) => {
    beforeEach(() => start());

    it.each(orders)('comes once, with the highest QoS that was granted: %s', async (_case, filters, highest) => {
      const client = await testBroker.connectDevice('dev-1', { clean });
      for (const [topic, qos] of filters) expect(await client.subscribe(filter(topic, qos))).toEqual([qos]);
      await publishAll(await testBroker.connectService('commander'));
      const expected = ([0, 1, 2] as const).map((qos) => live(String(qos), Math.min(qos, highest) as Qos));
      expect(await receiveAll(client, 3)).toEqual(expected);
    });

    it('is delivered with the remaining QoS when the higher filter is removed, or granted anew with less', async () => {
      const client = await testBroker.connectDevice('dev-1', { clean });
      await client.subscribe(filter(exact, 0), filter(one, 1), filter(all, 2));
      const commander = await testBroker.connectService('commander');
      const next = async (count = 3) => {
        await publishAll(commander);
        return (await receiveAll(client, count)).map(({ qos }) => qos);
      };
      const unsubscribe = async (...unsubscriptions: string[]) => {
        client.send({ cmd: 'unsubscribe', messageId: 8, unsubscriptions });
        expect(await client.next()).toMatchObject({ cmd: 'unsuback', messageId: 8 });
      };
      expect(await next()).toEqual([0, 1, 2]);
      await unsubscribe(all);
      expect(await next()).toEqual([0, 1, 1]);
      expect(await client.subscribe(filter(one, 0))).toEqual([0]);
      expect(await next()).toEqual([0, 0, 0]);
      expect(await client.subscribe(filter(exact, 2))).toEqual([2]);
      expect(await next()).toEqual([0, 1, 2]);
      await unsubscribe(exact, one, all);
      expect(await next(0)).toEqual([]);
    });

    it('costs the store nothing, and has no packet identifier, where all were granted QoS 0', async () => {
      const credentials = testBroker.enroll(device('dev-1'));
      const client = await testBroker.session(credentials, { clientId: 'dev-1', clean });
      await client.subscribe(filter(exact, 0), filter(all, 0));
      const commander = await testBroker.connectService('commander');
      await publishAll(commander);
      const came = await client.settled();
      expect(received(came)).toEqual([live('0', 0), live('1', 0), live('2', 0)]);
      expect(came.map(({ messageId }) => messageId)).toEqual([undefined, undefined, undefined]);
      await gone(client);
      await publishAll(commander);
      expect([inQueue('dev-1'), testBroker.broker.counters().session_store_bytes]).toEqual([0, 0]);
      const again = await testBroker.session(credentials, { clientId: 'dev-1', clean });
      expect(await again.settled()).toEqual([]);
    });
  });

  it('is queued with that QoS for a disconnected client, and sent with it again after a restart', async () => {
    const sessionFile = join(temporaryDirectory(), 'sessions.db');
    await start({ sessionFile });
    const first = await testBroker.connectDevice('dev-1', { clean: false });
    await first.subscribe(filter(exact, 0), filter(one, 1), filter(all, 2));
    await gone(first);
    const second = await testBroker.connectDevice('dev-2', { clean: false });
    await second.subscribe(filter('devices/dev-2/commands/+/+', 1));
    await gone(second);
    const commander = await testBroker.connectService('commander');
    await publishAll(commander);
    await publishAll(commander, 'devices/dev-2/commands/a/1');
    const again = await testBroker.connectDevice('dev-1', { clean: false });
    const sent = [await again.nextOf('publish'), await again.nextOf('publish')] as Packet[];
    expect(received(sent)).toEqual([live('1', 1), live('2', 2)]);
    await gone(again);
    await testBroker.close();
    await start({ sessionFile });
    const back = await testBroker.connectDevice('dev-1', { clean: false });
    // Under the identifiers that they had, and so with the QoS that they had.
    const repeated = [await back.nextOf('publish'), await back.nextOf('publish')] as Packet[];
    expect(received(repeated)).toEqual([live('1', 1), live('2', 2)]);
    expect(repeated.map(({ messageId }) => messageId)).toEqual(sent.map(({ messageId }) => messageId));
    const away = await testBroker.connectDevice('dev-2', { clean: false });
    expect(received(await away.settled())).toEqual([live('1', 1), live('2', 1)]);
  });

  it('that is queued keeps its QoS when its filters are removed, or granted anew with less, before it is sent', async () => {
    await start({ limits: { replayPerSecond: 50 } });
    const credentials = testBroker.enroll(device('dev-1'));
    const first = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    await first.subscribe(filter(all, 2), filter(exact, 1));
    await gone(first);
    const commander = await testBroker.connectService('commander');
    for (const n of [1, 2, 3]) await commander.publish(exact, String(n), { qos: 1, messageId: n });
    await commander.settled();
    const again = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    again.send({ cmd: 'unsubscribe', messageId: 8, unsubscriptions: [all] });
    again.send({ cmd: 'subscribe', messageId: 9, subscriptions: [filter(exact, 0)] });
    const got: unknown[] = [];
    while (got.length < 3) got.push(...received([(await again.next()) as Packet]));
    expect(got).toEqual([live('1', 1), live('2', 1), live('3', 1)]);
  });

  it('that was retained is delivered with that QoS: with RETAIN 1 to a new subscription, with RETAIN 0 from a queue', async () => {
    await start();
    const credentials = testBroker.enroll(service('listener'));
    const listen = () => testBroker.session(credentials, { clientId: 'listener', clean: false });
    const first = await listen();
    await first.subscribe(filter('devices/+/twin/reported', 1));
    await gone(first);
    const reporting = await testBroker.connectDevice('dev-1');
    await reporting.publish('devices/dev-1/twin/reported', 'state', { qos: 2, messageId: 3, retain: true });
    await reporting.settled();
    const second = await listen();
    const [sent] = await second.settled();
    expect(received([sent as Packet])).toEqual([live('state', 1)]);
    await gone(second);
    // It is sent until it is acknowledged.
    const third = await listen();
    expect(await third.settled()).toMatchObject([{ cmd: 'publish', messageId: sent?.messageId, dup: true }]);
    expect(await third.subscribe(filter('devices/dev-1/twin/reported', 0))).toEqual([0]);
    expect(await third.next()).toMatchObject({ payload: Buffer.from('state'), qos: 0, retain: true });
  });
});

describe('SUBACK', () => {
  it.each([['clean', true] as const, ['persistent', false] as const])(
    'has a code for each filter, also for one that is there twice, and the last counts: %s session',
    async (_, clean) => {
      await start();
      const client = await testBroker.connectDevice('dev-1', { clean });
      const foreign = 'devices/dev-2/commands/+/+';
      const requested = [filter(all, 2), filter(foreign, 1), filter(all, 0), filter(all, 1), filter(foreign, 2)];
      expect(await client.subscribe(...requested)).toEqual([2, 128, 0, 1, 128]);
      await publishAll(await testBroker.connectService('commander'));
      expect(await receiveAll(client, 3)).toEqual([live('0', 0), live('1', 1), live('2', 1)]);
    },
  );

  it('counts a repeated filter once against the limit', async () => {
    await start({ limits: { subscriptions: 2 } });
    const client = await testBroker.connectDevice('dev-1');
    const requested = [filter(all, 1), filter(all, 1), filter(all, 1), filter(exact, 0)];
    expect(await client.subscribe(...requested)).toEqual([1, 1, 1, 0]);
    expect(await client.settled()).toEqual([]);
  });

  it('is sent in order when several SUBSCRIBE arrive in one chunk', async () => {
    await start();
    const client = await testBroker.connectDevice('dev-1');
    const packets = [1, 2, 3].map((messageId) =>
      mqttPacket.generate({ cmd: 'subscribe', messageId, subscriptions: [filter(all, 1), filter(all, 2)] }),
    );
    client.send(Buffer.concat(packets));
    const answers = await client.settled();
    expect(answers.map(({ cmd, messageId }) => [cmd, messageId])).toEqual([1, 2, 3].map((id) => ['suback', id]));
    expect(answers).toMatchObject([1, 2, 3].map(() => ({ granted: [1, 2] })));
  });
});
