/** Sessions that outlive their connections: what is kept for whom, how much of it, and how long. */

import type { Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { payloads } from '../../test/fixtures/broker/received-packets.ts';
import { device, service, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const commands = 'devices/dev-1/commands/+/+';

/** A device that is connected and wants its commands; `connect` brings it back to the session that is kept for it. */
async function wantingCommands() {
  const credentials = testBroker.enroll(device('dev-1'));
  const connect = () => testBroker.session(credentials, { clientId: 'dev-1', clean: false });
  const first = await connect();
  await first.subscribe({ topic: commands, qos: 1 });
  return { credentials, connect, first };
}

describe('a persistent session', () => {
  it('has its filters and its queued messages, in order', async () => {
    await start();
    const { connect, first } = await wantingCommands();
    first.destroy();
    await testBroker.event('disconnected');
    const commander = await testBroker.connectService('commander');
    for (let n = 1; n <= 5; n += 1) {
      await commander.publish(`devices/dev-1/commands/a/${n}`, String(n), { qos: 1, messageId: n });
    }
    await commander.settled();
    const again = await connect();
    expect(again.packets[0]).toMatchObject({ cmd: 'connack', sessionPresent: true });
    expect(payloads(await again.settled())).toEqual(['1', '2', '3', '4', '5']);
  });

  it('gets a long queue in batches, then new messages, each once', async () => {
    await start({ limits: { replayPerSecond: 100, messagesPerSecond: 0 } });
    const { connect, first } = await wantingCommands();
    first.destroy();
    await testBroker.event('disconnected');
    const commander = await testBroker.connectService('commander');
    const send = (n: number) => commander.publish(`devices/dev-1/commands/a/${n}`, String(n), { qos: 1, messageId: n });
    for (let n = 1; n <= 20; n += 1) await send(n);
    await commander.settled();
    const again = await connect();
    const firstStep = payloads(await again.settled());
    expect(firstStep.length).toBeGreaterThan(0);
    expect(firstStep.length).toBeLessThan(20); // the connection serves its client between two steps
    for (let n = 21; n <= 25; n += 1) await send(n);
    const got = [...firstStep];
    while (got.length < 25) got.push(...payloads([(await again.next()) as Packet]));
    expect(got).toEqual(Array.from({ length: 25 }, (_, index) => String(index + 1)));
    await send(26);
    expect(await again.next()).toMatchObject({ payload: Buffer.from('26') });
    expect(payloads(await again.settled())).toEqual([]);
  });

  it('gets again what it did not acknowledge, marked as sent before [MQTT-3.3.1-1], and then the rest', async () => {
    await start({ limits: { replayPerSecond: 50 } });
    const { connect, first } = await wantingCommands();
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-1/commands/a/1', '1', { qos: 1, messageId: 1 });
    const sent = await first.next();
    expect(sent).toMatchObject({ cmd: 'publish', dup: false });
    first.destroy();
    await testBroker.event('disconnected');
    await commander.publish('devices/dev-1/commands/a/2', '2', { qos: 1, messageId: 2 });
    await commander.settled();
    const again = await connect();
    const { messageId } = sent as { readonly messageId: number };
    expect(await again.next()).toMatchObject({ payload: Buffer.from('1'), dup: true, messageId });
    expect(await again.next()).toMatchObject({ payload: Buffer.from('2'), dup: false });
  });

  it('queues a limited number of messages: the oldest are removed', async () => {
    await start({ limits: { queuedMessages: 3 } });
    const { connect, first } = await wantingCommands();
    first.destroy();
    await testBroker.event('disconnected');
    const commander = await testBroker.connectService('commander');
    for (let n = 1; n <= 8; n += 1)
      await commander.publish(`devices/dev-1/commands/a/${n}`, String(n), { qos: 1, messageId: n });
    await commander.settled();
    const again = await connect();
    expect(payloads(await again.settled())).toEqual(['6', '7', '8']);
    expect(testBroker.broker.counters().messages_not_queued).toBe(5);
  });

  it('makes room again as messages are acknowledged', async () => {
    await start({ limits: { queuedMessages: 3 } });
    const { first: client } = await wantingCommands();
    const commander = await testBroker.connectService('commander');
    for (let n = 1; n <= 10; n += 1) {
      await commander.publish(`devices/dev-1/commands/a/${n}`, String(n), { qos: 1, messageId: n });
      const message = await client.next();
      client.send({ cmd: 'puback', messageId: message?.messageId ?? 0 });
      await client.settled();
    }
    expect(testBroker.broker.counters().messages_not_queued).toBe(0);
  });

  it('is removed when the client asks for a clean one', async () => {
    await start();
    const { connect, credentials, first } = await wantingCommands();
    first.destroy();
    await testBroker.event('disconnected');
    const commander = await testBroker.connectService('commander');
    await commander.publish('devices/dev-1/commands/a/1', 'old', { qos: 1 });
    await commander.settled();
    const clean = await testBroker.session(credentials, { clientId: 'dev-1', clean: true });
    expect(payloads(await clean.settled())).toEqual([]);
    clean.destroy();
    await clean.closed;
    const again = await connect();
    expect(again.packets[0]).toMatchObject({ sessionPresent: false });
    expect(payloads(await again.settled())).toEqual([]);
    expect(testBroker.broker.counters().persistent_sessions).toBe(1);
  });

  it('is removed when its client stays disconnected', async () => {
    let time = Date.now();
    await start({ now: () => time, limits: { sessionExpiry: 1_000, sweepInterval: 5 } });
    const { connect, first: client } = await wantingCommands();
    client.destroy();
    await waitUntil(() => testBroker.broker.counters().sessions === 0);
    time += 2_000;
    await waitUntil(() => testBroker.broker.counters().persistent_sessions === 0);
    const again = await connect();
    expect(again.packets[0]).toMatchObject({ sessionPresent: false });
  });

  it('is one of at most a hundred of a service', async () => {
    await start();
    const credentials = testBroker.enroll(service('many'));
    for (let n = 0; n < 103; n += 1) {
      const client = await testBroker.session(credentials, { clientId: `many-${n}`, clean: false });
      client.send({ cmd: 'disconnect' });
      await client.closed;
    }
    expect(testBroker.broker.counters().persistent_sessions).toBe(100);
  });
});
