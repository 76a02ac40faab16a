/** Clients that break off or ask for too much in the middle of something: what is kept for them stays right and bounded. */

import mqttPacket from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const commands = 'devices/dev-1/commands/+/+';

describe('a persistent session', () => {
  it.each([1, 2] as const)('loses nothing of QoS %d when its client breaks off while it is sent again', async (qos) => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const connect = () => testBroker.session(credentials, { clientId: 'dev-1', clean: false });
    const first = await connect();
    await first.subscribe({ topic: commands, qos });
    const commander = await testBroker.connectService('commander');
    const ids = Array.from({ length: 30 }, (_, index) => index + 1);
    for (const messageId of ids) {
      await commander.publish(`devices/dev-1/commands/a/${messageId}`, 'x', { qos, messageId });
    }
    await commander.settled();
    for (const _ of ids) expect(await first.next()).toMatchObject({ cmd: 'publish' });
    first.destroy();
    for (let attempt = 1; attempt <= 5; attempt += 1) (await connect()).destroy();
    const last = await connect();
    for (const id of ids)
      expect(await last.next()).toMatchObject({ cmd: 'publish', topic: expect.stringMatching(`/${id}$`) });
  });

  it('stores no filter beyond the limit, however they are requested', async () => {
    await start({ limits: { subscriptions: 3 } });
    const credentials = testBroker.enroll(device('dev-1'));
    const filter = (n: number) => ({ topic: `devices/dev-1/commands/c${n}/+`, qos: 1 as const });
    for (let round = 0; round < 4; round += 1) {
      const client = await testBroker.session(credentials, { clientId: 'dev-1', clean: false });
      client.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: [filter(round * 10).topic] });
      await client.settled();
      for (const n of [1, 2, 3, 4, 5, 6, 7, 10]) {
        client.send({ cmd: 'subscribe', messageId: n, subscriptions: [filter(round * 10 + n)] });
      }
      await client.closed;
    }
    expect(testBroker.sessions.store.subscriptionsOf('dev-1')).toHaveLength(3);
  });
});

it.each(['and nothing more', 'and the rest a byte at a time'])(
  'half a packet %s counts as no packet for keep-alive',
  async (rest) => {
    await start({ limits: { keepalive: 200 } });
    const client = await testBroker.connectDevice('dev-1', { keepalive: 0 });
    const whole = mqttPacket.generate({
      cmd: 'publish',
      topic: 'devices/dev-1/telemetry/t',
      payload: Buffer.alloc(100_000),
      qos: 1,
      messageId: 1,
      retain: false,
      dup: false,
    });
    let sent = Math.floor(whole.length / 2);
    client.send(whole.subarray(0, sent));
    const timer = setInterval(() => {
      if (rest !== 'and nothing more') client.send(whole.subarray(sent, ++sent));
    }, 5);
    await client.closed;
    clearInterval(timer);
    expect(await testBroker.event('disconnected')).toMatchObject({ reason: 'keepalive_timeout' });
    expect(testBroker.accepted).toEqual([]);
  },
);

it('UNSUBSCRIBE of unknown filters, also repeated in one packet, is acknowledged and changes nothing', async () => {
  await start();
  const client = await testBroker.connectDevice('dev-1', { clean: false });
  await client.subscribe({ topic: commands, qos: 1 });
  client.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['#', 'constructor', '__proto__', '#', 'a/+'] });
  expect(await client.next()).toMatchObject({ cmd: 'unsuback', messageId: 3 });
  const commander = await testBroker.connectService('commander');
  await commander.publish('devices/dev-1/commands/a/1', 'x', { qos: 1 });
  expect(await client.next()).toMatchObject({ cmd: 'publish', qos: 1 });
  client.send({ cmd: 'unsubscribe', messageId: 4, unsubscriptions: [commands, commands] });
  expect(await client.next()).toMatchObject({ cmd: 'unsuback', messageId: 4 });
  expect(testBroker.broker.counters().sessions).toBe(2);
});
