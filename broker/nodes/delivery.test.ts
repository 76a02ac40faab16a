/** Messages from a client of one node to clients of others: live, retained, shared, and with acknowledgements that wait for storage. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { messages, payloads, reasonCodes } from '../../test/fixtures/broker/received-packets.ts';
import { service, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';
import { waitUntil } from '../../test/fixtures/broker/wait-until.ts';

const policies = {
  'service/*': { connect: ['*'], publish: ['#'], subscribe: ['#'], receive: ['#'], retain: ['#'] },
};

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start({ nodes: 2, policies, ...options });
};
afterEach(() => testBroker?.close());

/** A service on a node, by MQTT 5. */
function connect(name: string, node: number, options: { readonly clean?: boolean } = {}): Promise<RawClient> {
  const { clean = true } = options;
  const properties = clean ? {} : { properties: { sessionExpiryInterval: 3_600 } };
  const credentials = testBroker.enroll(service(name));
  return testBroker.session(credentials, { clientId: name, protocolVersion: 5, clean, ...properties }, node);
}

/** Publishes with QoS 1 or 2 and takes the handshake to its end. Returns the reason code of its first answer. */
async function deliver(client: RawClient, topic: string, payload: string, qos: 1 | 2, retain = false) {
  await client.publish(topic, payload, { qos, retain, messageId: 1 });
  if (qos === 1) return (await client.nextOf('puback'))?.reasonCode;
  const pubrec = await client.nextOf('pubrec');
  client.send({ cmd: 'pubrel', messageId: 1 });
  await client.nextOf('pubcomp');
  return pubrec?.reasonCode;
}

describe('a message for a client of another node', () => {
  it.each([0, 1, 2] as const)('arrives with QoS %i, in order', async (qos) => {
    await start();
    const reader = await connect('reader', 1);
    await reader.subscribe({ topic: 'a/#', qos });
    const writer = await connect('writer', 0);
    const sent = Array.from({ length: 30 }, (_, n) => String(n));
    for (const payload of sent) {
      if (qos === 0) await writer.publish('a/b', payload);
      else expect(await deliver(writer, 'a/b', payload, qos)).toBe(0);
    }
    const received: string[] = [];
    while (received.length < sent.length) {
      const packet = await reader.nextOf('publish');
      if (packet === undefined) throw new Error('expected a message');
      expect(packet.qos).toBe(qos);
      received.push(String(packet.payload));
      reader.acknowledge(packet);
    }
    expect(received).toEqual(sent);
  });

  it('is delivered once to a client with several subscriptions that match, and to none that has unsubscribed', async () => {
    await start();
    const [reader, former] = [await connect('reader', 1), await connect('former', 1)];
    await reader.subscribe('a/#', 'a/+', 'a/b');
    await former.subscribe('a/#');
    former.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['a/#'] });
    await former.nextOf('unsuback');
    const writer = await connect('writer', 0);
    await deliver(writer, 'a/b', 'x', 1);
    expect(payloads(await reader.settled())).toEqual(['x']);
    expect(payloads(await former.settled())).toEqual([]);
  });

  it('has no matching subscriber any more when the client of the other node is gone', async () => {
    await start();
    const reader = await connect('reader', 1);
    await reader.subscribe({ topic: 'a/b', qos: 1 });
    const writer = await connect('writer', 0);
    expect(await deliver(writer, 'a/b', 'x', 1)).toBe(0);
    reader.disconnect();
    await testBroker.event('disconnected');
    while ((await deliver(writer, 'a/b', 'x', 1)) !== 16);
  });
});

describe('SUBACK', () => {
  it.each([false, true])('waits until the other node knows the route (Clean Start: %s)', async (clean) => {
    await start();
    const writer = await connect('writer', 0);
    await writer.settled();
    const reader = await connect('reader', 1, { clean });
    const routes = testBroker.nodes.channels[0]?.hold('routes', { isDone: false });
    reader.send({ cmd: 'subscribe', messageId: 3, subscriptions: [{ topic: 'a/b', qos: 1 }] });
    await waitUntil(() => routes?.inputs.length === 1);
    // A connection without subscriptions does not wait for it, and the subscription is on disk.
    await connect('other', 1);
    await testBroker.sessions.store.durable();
    for (let turn = 0; turn < 20; turn += 1) await nextTurn();
    expect(reader.packets.map(({ cmd }) => cmd)).toEqual(['connack']);
    routes?.release();
    expect(await reader.nextOf('suback')).toMatchObject({ granted: [1] });
    expect(await deliver(writer, 'a/b', 'x', 1)).toBe(0);
    expect(payloads([(await reader.nextOf('publish')) as never])).toEqual(['x']);
  });
});

describe('a retained message', () => {
  it('of a client of one node reaches later subscribers of the others, and is removed for them as well', async () => {
    await start({ limits: { retained: 200 } });
    const [writer, reader] = [await connect('writer', 0), await connect('reader', 1)];
    for (let n = 0; n < 120; n += 1) await deliver(writer, `a/${n}`, String(n), 1, true);
    await deliver(writer, 'a/7', '', 1, true);
    await reader.subscribe('a/#');
    const received = new Set<string>();
    while (received.size < 119) {
      const packet = await reader.nextOf('publish');
      expect(packet?.retain).toBe(true);
      received.add(String(packet?.payload));
    }
    expect(received.has('7')).toBe(false);
  });

  it('with QoS 0 is retained as well', async () => {
    await start();
    const [writer, reader] = [await connect('writer', 0), await connect('reader', 1)];
    await writer.publish('a/b', 'x', { retain: true });
    await writer.settled();
    do await reader.subscribe('a/b');
    while (!payloads(await reader.settled()).includes('x'));
  });
});

describe('a message that cannot be stored', () => {
  it('is refused with Quota exceeded when its owner retains too much, and is free for another', async () => {
    await start({ limits: { retained: 1 } });
    const writer = await connect('writer', 0);
    expect(await deliver(writer, 'a/1', 'x', 1, true)).toBe(0);
    expect(await deliver(writer, 'a/2', 'x', 1, true)).toBe(0x97);
    await writer.publish('a/3', 'x', { qos: 2, retain: true, messageId: 4 });
    expect(reasonCodes([(await writer.nextOf('pubrec')) as never], 'pubrec')).toEqual([0x97]);
    const reader = await connect('reader', 1);
    await reader.subscribe('a/#');
    expect(messages(await reader.settled())).toEqual(['a/1 x']);
  });

  it('is refused with Quota exceeded when no session has room for it', async () => {
    await start({ limits: { queuedBytes: 1_000 } });
    const reader = await connect('reader', 1, { clean: false });
    await reader.subscribe({ topic: 'a/b', qos: 1 });
    reader.disconnect();
    await waitUntil(() => testBroker.broker.sessions().length === 0);
    const writer = await connect('writer', 0);
    expect(await deliver(writer, 'a/b', 'x', 1)).toBe(0);
    for (const qos of [1, 2] as const) {
      await writer.publish('a/b', 'x'.repeat(2_000), { qos, messageId: 2 });
      expect(await writer.nextOf(qos === 1 ? 'puback' : 'pubrec')).toMatchObject({ reasonCode: 0x97 });
    }
    // The packet identifier of QoS 2 is free again.
    expect(await deliver(writer, 'a/b', 'y', 2)).toBe(0);
  });
});

describe('a shared subscription with members on several nodes', () => {
  const share = { topic: '$share/g/a/#', qos: 1 as const };

  it('has each message delivered once, to one of them', async () => {
    await start();
    const members = await Promise.all([0, 1, 0, 1].map((node, n) => connect(`member-${n}`, node, { clean: n < 2 })));
    for (const member of members) await member.subscribe(share);
    const writer = await connect('writer', 0);
    for (let n = 0; n < 40; n += 1) expect(await deliver(writer, 'a/b', String(n), 1)).toBe(0);
    const parts = members.map(() => [] as string[]);
    await Promise.all(
      members.map(async (member, index) => {
        for (let n = 0; n < 10; n += 1) {
          const packet = await member.nextOf('publish');
          if (packet === undefined) throw new Error('expected a message');
          parts[index]?.push(String(packet.payload));
          member.acknowledge(packet);
        }
      }),
    );
    for (const member of members) expect(payloads(await member.settled())).toEqual([]);
    expect(new Set(parts.flat()).size).toBe(40);
  });

  it('passes over a member that does not acknowledge', async () => {
    await start({ limits: { queuedMessages: 20 } });
    const [slow, fast] = [await connect('slow', 1), await connect('fast', 0)];
    await slow.subscribe(share);
    await fast.subscribe(share);
    const writer = await connect('writer', 0);
    let toFast = 0;
    for (let n = 0; n < 100; n += 1) {
      await deliver(writer, 'a/b', String(n), 1);
      for (const packet of await fast.settled()) {
        if (packet.cmd !== 'publish') continue;
        toFast += 1;
        fast.acknowledge(packet);
      }
    }
    const toSlow = (await slow.settled()).length;
    expect(toSlow + toFast).toBeLessThanOrEqual(100);
    expect(toSlow).toBeLessThan(40);
    expect(toFast).toBeGreaterThan(60);
  });

  it('has what a member did not acknowledge delivered to a member of another node when it leaves', async () => {
    await start();
    const [leaving, staying] = [await connect('leaving', 1), await connect('staying', 0)];
    await leaving.subscribe(share);
    const writer = await connect('writer', 0);
    for (const payload of ['1', '2', '3']) await deliver(writer, 'a/b', payload, 1);
    await leaving.nextOf('publish');
    await staying.subscribe(share);
    leaving.destroy();
    const received = [
      await staying.nextOf('publish'),
      await staying.nextOf('publish'),
      await staying.nextOf('publish'),
    ];
    expect(payloads(received as never).sort()).toEqual(['1', '2', '3']);
  });
});

describe('a node that is slow', () => {
  it.each(['a/#', '$share/g/a/#'])('holds the sender of messages for its clients (%s)', async (filter) => {
    await start({ limits: { messagesPerSecond: 0 } });
    const reader = await connect('reader', 1);
    await reader.subscribe(filter);
    const name = filter.startsWith('$') ? 'deliverShared' : 'deliver';
    const held = testBroker.nodes.channels[1]?.hold(name);
    const writer = await connect('writer', 0);
    for (let n = 0; n < 400; n += 1) await writer.publish('a/b', String(n));
    // PINGRESP would come if the rest were read.
    writer.send({ cmd: 'pingreq' });
    await waitUntil(() => (held?.inputs.length ?? 0) >= 100); // The limit of one client.
    const other = await connect('other', 0);
    for (let n = 0; n < 10; n += 1) await other.settled();
    expect(held?.inputs.length).toBeLessThanOrEqual(101);
    expect(writer.packets.some(({ cmd }) => cmd === 'pingresp')).toBe(false);
    held?.release();
    await writer.nextOf('pingresp');
    const received = payloads(await reader.settled()).map(Number);
    expect(received.length).toBeGreaterThan(0);
    expect(received).toEqual([...received].sort((a, b) => a - b));
  });
});
