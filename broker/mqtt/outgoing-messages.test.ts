/** What a session sends from its queue, when, and under which packet identifiers. Statement numbers are those of MQTT 5. */

import { ReasonCode } from '@rollcall/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { OutgoingQueues, START } from '../../test/fixtures/broker/outgoing-session.ts';
import { message, receiver } from '../../test/fixtures/broker/stored-messages.ts';
import type { Grant } from './session-subscriptions.ts';

const PLAIN: Grant = { qos: 0, retainAsPublished: false, subscriptionIdentifiers: undefined };

let queues: OutgoingQueues;

beforeEach(async () => {
  queues = await OutgoingQueues.open();
});

describe('messages of QoS 1 and 2', () => {
  it('are sent within the Receive Maximum, in order [MQTT-3.3.4-9]', () => {
    const one = queues.session({ client: { receiveMaximum: 2 } });
    queues.enqueueAll('a', 'b', 'c', 'd');
    one.outgoing.wake();
    expect(one.take()).toEqual(['1:a', '2:b']);
    one.outgoing.wake();
    expect(one.take()).toEqual([]);
    one.outgoing.pubackReceived(2);
    expect(one.take()).toEqual(['3:c']);
    one.outgoing.pubackReceived(9); // of nothing
    expect(one.take()).toEqual([]);
    one.outgoing.pubackReceived(1);
    expect(one.take()).toEqual(['4:d']);
  });

  it('of QoS 2 count until PUBCOMP, or PUBREC with an error', async () => {
    const one = queues.session({ client: { receiveMaximum: 1 } });
    for (const payload of ['a', 'b', 'c']) queues.enqueue(payload, { qos: 2 });
    one.outgoing.wake();
    expect(one.take()).toEqual(['1:a']);
    one.outgoing.pubrecReceived(1, ReasonCode.success);
    await queues.settled();
    expect(one.take()).toEqual(['pubrel 1']);
    one.outgoing.pubcompReceived(1);
    expect(one.take()).toEqual(['2:b']);
    one.outgoing.pubrecReceived(2, ReasonCode.quotaExceeded);
    await queues.settled();
    expect(one.take()).toEqual(['3:c']);
  });

  it('of QoS 0 are sent beside them', () => {
    const one = queues.session({ client: { receiveMaximum: 1 } });
    queues.enqueueAll('a', 'b');
    one.outgoing.wake();
    one.outgoing.sendAtMostOnce(message('now'), PLAIN);
    expect(one.take()).toEqual(['1:a', '0:now']);
  });

  it('have identifiers that are not in use, also after 65,535', () => {
    queues.putSession();
    const queue = queues.store.queueOf('c1', { isStored: true });
    for (const id of [65_534, 1, 3]) {
      queues.enqueue(`in flight ${id}`);
      queue.assignPacketId(queue.nextUnsent() as never, id);
    }
    const one = queues.storedSession();
    one.outgoing.start();
    expect(one.take()).toEqual(['65534:in flight 65534 dup', '1:in flight 1 dup', '3:in flight 3 dup']);
    queues.enqueueAll('a', 'b', 'c');
    one.outgoing.wake();
    expect(one.take()).toEqual(['65535:a', '2:b', '4:c']);
  });

  it('do not use an identifier again before it is acknowledged, even if its message went to another member of a share', () => {
    const one = queues.session();
    for (let id = 1; id <= 65_535; id += 1) {
      queues.enqueue('x', {}, { share: '$share/g/a/b' });
      one.outgoing.wake();
      if (id !== 1) one.outgoing.pubackReceived(id);
    }
    one.take();
    expect(queues.store.moveShared('c1', () => true)).toMatchObject([{ packetId: 1 }]);
    queues.enqueueAll('a', 'b');
    one.outgoing.wake();
    expect(one.take()).toEqual(['2:a', '3:b']);
  });

  it('are not sent by a session that is not open', () => {
    const one = queues.session();
    one.isOpen = false;
    queues.enqueueAll('a');
    one.outgoing.wake();
    expect([one.take(), one.queue.size]).toEqual([[], 1]);
  });

  it('have the options of their subscriptions', () => {
    const one = queues.session();
    const properties = { contentType: 'text/plain' };
    queues.enqueue(
      'a',
      { qos: 2, retain: true, properties },
      { qos: 1, retain: true, subscriptionIdentifiers: [3, 4] },
    );
    one.outgoing.wake();
    expect(one.takePackets()).toMatchObject([
      { qos: 1, retain: true, dup: false, properties: { contentType: 'text/plain', subscriptionIdentifier: [3, 4] } },
    ]);
  });

  it('exempt their acknowledgements from the rate of the client', () => {
    const one = queues.session();
    queues.enqueue('a', { qos: 1 });
    queues.enqueue('b', { qos: 2 });
    one.outgoing.wake();
    expect(one.expected).toBe(3);
  });
});

describe('PUBREC', () => {
  it('is answered by PUBREL when the release is stored, also a second time', async () => {
    queues.putSession();
    const one = queues.storedSession();
    queues.enqueue('a', { qos: 2 });
    one.outgoing.wake();
    await queues.settled();
    one.take();
    one.outgoing.pubrecReceived(1, ReasonCode.success);
    expect(one.take()).toEqual([]);
    await queues.settled();
    expect(one.take()).toEqual(['pubrel 1']);
    one.outgoing.pubrecReceived(1, ReasonCode.success);
    await queues.settled();
    expect(one.take()).toEqual(['pubrel 1']);
  });

  it.each([
    [4, undefined],
    [5, ReasonCode.packetIdentifierNotFound],
  ] as const)(
    'for an unknown identifier is answered by PUBREL, in version %d with reason %s',
    (version, reasonCode) => {
      const one = queues.session({ client: { version } });
      one.outgoing.pubrecReceived(9, ReasonCode.success);
      const [pubrel] = one.takePackets();
      expect(pubrel).toMatchObject({ cmd: 'pubrel', messageId: 9, ...(reasonCode !== undefined && { reasonCode }) });
    },
  );

  it('with an error removes the message from the queue', () => {
    const one = queues.session();
    queues.enqueue('a', { qos: 2 });
    one.outgoing.wake();
    one.takePackets();
    one.outgoing.pubrecReceived(1, ReasonCode.notAuthorized);
    expect([one.takePackets(), one.queue.size]).toEqual([[], 0]);
  });
});

describe('a message that expires', () => {
  it('is sent with the time that is left, in whole seconds', () => {
    const one = queues.session();
    queues.enqueue('a', { expiresAt: START + 10_000 });
    queues.now += 2_500;
    one.outgoing.wake();
    one.outgoing.sendAtMostOnce(message('b', { expiresAt: START + 3_000 }), PLAIN);
    expect(one.takePublished().map(({ properties }) => properties)).toMatchObject([
      { messageExpiryInterval: 8 },
      { messageExpiryInterval: 1 },
    ]);
  });

  it('in the queue is not sent, nor is one of QoS 0 [MQTT-3.3.2-5]', () => {
    const one = queues.session({ client: { receiveMaximum: 1 } });
    queues.enqueue('a');
    queues.enqueue('b', { expiresAt: START + 1_000 });
    queues.enqueue('c');
    one.outgoing.wake();
    queues.now += 1_000;
    one.outgoing.pubackReceived(1);
    one.outgoing.sendAtMostOnce(message('d', { expiresAt: START + 1_000 }), PLAIN);
    expect(one.take()).toEqual(['1:a', '2:c']);
    expect(one.counters.messagesExpired).toBe(2);
  });
});

describe('the Maximum Packet Size of the client', () => {
  const large = 'x'.repeat(60);

  it('excludes larger messages: they count as delivered [MQTT-3.1.2-24, MQTT-3.1.2-25]', async () => {
    queues.putSession();
    const one = queues.storedSession({ client: { maximumPacketSize: 40, receiveMaximum: 1 } });
    queues.enqueue(large, { qos: 1 });
    queues.enqueue(large, { qos: 2 });
    queues.enqueue('b');
    one.outgoing.wake();
    await queues.settled();
    one.outgoing.wake();
    one.outgoing.sendAtMostOnce(message(large), PLAIN);
    expect(one.take()).toEqual(['3:b']);
    expect([one.counters.messagesTooLarge, one.queue.size]).toEqual([3, 1]);
  });

  it('exempts no acknowledgement of a message that was not sent', () => {
    const one = queues.session({ client: { maximumPacketSize: 40 } });
    queues.enqueue(large, { qos: 1 });
    one.outgoing.wake();
    expect(one.expected).toBe(0);
  });

  it('records no topic alias of a message that was not sent', () => {
    const one = queues.session({ client: { maximumPacketSize: 40, topicAliasMaximum: 5 } });
    queues.enqueue(large);
    queues.enqueue('b');
    queues.enqueue('c');
    one.outgoing.wake();
    expect(one.takePackets()).toMatchObject([
      { topic: 'a/b', payload: Buffer.from('b'), properties: { topicAlias: 1 } },
      { topic: '', payload: Buffer.from('c'), properties: { topicAlias: 1 } },
    ]);
  });
});

describe('topic aliases', () => {
  it('are given in the order of the topics, up to the maximum of the client', () => {
    const one = queues.session({ client: { topicAliasMaximum: 2 } });
    for (const topic of ['a', 'b', 'c', 'a', 'b', 'c']) one.outgoing.sendAtMostOnce(message('x', { topic }), PLAIN);
    const found = one.takePublished().map(({ topic, properties }) => [topic, properties?.topicAlias]);
    expect(found).toEqual([
      ['a', 1],
      ['b', 2],
      ['c', undefined],
      ['', 1],
      ['', 2],
      ['c', undefined],
    ]);
  });

  it('are no more than 64, whatever the client accepts', () => {
    const one = queues.session({ client: { topicAliasMaximum: 65_535 } });
    for (let n = 0; n < 70; n += 1) one.outgoing.sendAtMostOnce(message('x', { topic: `t/${n}` }), PLAIN);
    const aliases = one.takePublished().flatMap(({ properties }) => properties?.topicAlias ?? []);
    expect(aliases).toEqual(Array.from({ length: 64 }, (_, index) => index + 1));
  });

  it('are not used without a maximum, nor for the next connection', () => {
    const none = queues.session();
    none.outgoing.sendAtMostOnce(message('x'), PLAIN);
    expect(none.takePackets()).toMatchObject([{ topic: 'a/b' }]);
    for (let connection = 0; connection < 2; connection += 1) {
      const one = queues.session({ client: { topicAliasMaximum: 1 } });
      one.outgoing.sendAtMostOnce(message('x'), PLAIN);
      expect(one.takePackets()).toMatchObject([{ topic: 'a/b', properties: { topicAlias: 1 } }]);
    }
  });
});

describe('rights', () => {
  it('that were withdrawn after a message was queued apply when it would be sent', () => {
    const one = queues.session({ client: { receiveMaximum: 1 } });
    queues.enqueue('a');
    queues.enqueue('b', { topic: 'secret' });
    queues.enqueue('c');
    one.outgoing.wake();
    one.denied.add('secret');
    one.outgoing.pubackReceived(1);
    one.outgoing.sendAtMostOnce(message('d', { topic: 'secret' }), PLAIN);
    expect(one.take()).toEqual(['1:a', '2:c']);
    expect(one.counters.receiveDenied).toBe(2);
  });
});

describe('a message of QoS 0', () => {
  it('has RETAIN 1 if it is a retained one, or if the subscription has Retain As Published', () => {
    const one = queues.session();
    const retained = message('x', { retain: true });
    one.outgoing.sendAtMostOnce(retained, PLAIN);
    one.outgoing.sendAtMostOnce(retained, { ...PLAIN, retainAsPublished: true });
    one.outgoing.sendAtMostOnce(message('x'), { ...PLAIN, retainAsPublished: true });
    one.outgoing.sendAtMostOnce(retained, { ...PLAIN, subscriptionIdentifiers: [7] }, true);
    expect(one.takePublished().map(({ retain }) => retain)).toEqual([false, true, false, true]);
  });

  it('is dropped for a client that does not read', () => {
    const one = queues.session({ limits: { outgoing: 100 } });
    one.writableLength = 101;
    one.outgoing.sendAtMostOnce(message('x'), PLAIN);
    expect([one.take(), one.counters.messagesDropped, one.reasons]).toEqual([[], 1, []]);
  });
});

describe('a client that does not read', () => {
  it('is disconnected by a live message of QoS 1, which stays in its queue', () => {
    const one = queues.session({ limits: { outgoing: 100 } });
    queues.enqueue('a');
    one.writableLength = 100;
    one.outgoing.wake();
    expect(one.take()).toEqual(['1:a']);
    one.writableLength = 101;
    queues.enqueue('b');
    one.outgoing.wake();
    expect([one.take(), one.counters.messagesDropped, one.reasons]).toEqual([[], 1, ['slow_consumer']]);
    expect(one.queue.nextUnsent()?.message.payload.toString()).toBe('b');
  });

  it('is behind with half of the bytes, or with as many messages as it accepts', () => {
    const one = queues.session({ limits: { outgoing: 100, waiting: 3 }, client: { receiveMaximum: 2 } });
    expect(one.outgoing.isBehind).toBe(false);
    one.writableLength = 51;
    expect(one.outgoing.isBehind).toBe(true);
    one.writableLength = 50;
    queues.enqueue('a');
    expect(one.outgoing.isBehind).toBe(false);
    queues.enqueue('b');
    expect(one.outgoing.isBehind).toBe(true);
    const other = queues.session({ limits: { waiting: 3 }, clientId: 'c2' });
    for (const payload of ['a', 'b']) queues.store.enqueue([receiver('c2', { isConnected: true })], message(payload));
    expect(other.outgoing.isBehind).toBe(false);
    queues.store.enqueue([receiver('c2', { isConnected: true })], message('c'));
    expect(other.outgoing.isBehind).toBe(true);
  });
});
