/** What a session sends again, or sends late, after a reconnection. Statement numbers are those of MQTT 5. */

import { Problem, ReasonCode } from '@rollcall/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { OutgoingQueues, START } from '../../test/fixtures/broker/outgoing-session.ts';

const STEP_MS = 20;

let queues: OutgoingQueues;

beforeEach(async () => {
  queues = await OutgoingQueues.open();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('after a reconnection', () => {
  it('what is in flight is sent again before all others, under its identifiers [MQTT-4.4.0-1]', async () => {
    queues.putSession();
    const first = queues.storedSession({ client: { receiveMaximum: 3 } });
    for (const payload of ['a', 'b', 'c', 'd']) queues.enqueue(payload, { qos: payload === 'b' ? 2 : 1 });
    first.outgoing.wake();
    await queues.settled();
    expect(first.take()).toEqual(['1:a', '2:b', '3:c']);
    first.outgoing.pubrecReceived(2, ReasonCode.success);
    await queues.settled();
    const one = queues.storedSession();
    one.outgoing.start();
    expect(one.take()).toEqual(['1:a dup', 'pubrel 2', '3:c dup', '4:d']);
  });

  it('the Receive Maximum of the new connection holds for what is sent again', () => {
    queues.putSession();
    const first = queues.storedSession();
    queues.enqueueAll('a', 'b', 'c', 'd');
    first.outgoing.wake();
    const one = queues.storedSession({ client: { receiveMaximum: 2 } });
    one.outgoing.start();
    expect(one.take()).toEqual(['1:a dup', '2:b dup']);
    queues.enqueue('e');
    one.outgoing.wake();
    one.outgoing.pubackReceived(1);
    one.outgoing.pubackReceived(2);
    expect(one.take()).toEqual(['3:c dup', '4:d dup']);
    one.outgoing.pubackReceived(3);
    expect(one.take()).toEqual(['5:e']);
  });

  it('what is acknowledged before it could be sent again is not sent again', () => {
    queues.putSession();
    const first = queues.storedSession();
    queues.enqueueAll('a', 'b', 'c');
    first.outgoing.wake();
    const one = queues.storedSession({ client: { receiveMaximum: 1 } });
    one.outgoing.start();
    expect(one.take()).toEqual(['1:a dup']);
    one.outgoing.pubackReceived(2);
    one.outgoing.pubackReceived(1);
    expect(one.take()).toEqual(['3:c dup']);
  });

  it('what may not be received any more is not sent again', () => {
    queues.putSession();
    const first = queues.storedSession();
    queues.enqueue('a', { topic: 'secret' });
    queues.enqueue('b');
    first.outgoing.wake();
    const one = queues.storedSession();
    one.denied.add('secret');
    one.outgoing.start();
    expect(one.take()).toEqual(['2:b dup']);
    expect([one.counters.receiveDenied, queues.store.queueOf('c1', { isStored: true }).size]).toEqual([1, 1]);
  });

  it('what was sent before it expired is sent again, with nothing left of its time', () => {
    queues.putSession();
    const first = queues.storedSession();
    queues.enqueue('a', { expiresAt: START + 10_000 });
    first.outgoing.wake();
    queues.now += 60_000;
    const one = queues.storedSession();
    one.outgoing.start();
    expect(one.takePackets()).toMatchObject([{ messageId: 1, dup: true, properties: { messageExpiryInterval: 0 } }]);
  });

  it('the queue is sent at a limited rate, and live messages behind it; then nothing is limited', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    queues.putSession();
    queues.enqueueAll('1', '2', '3');
    const one = queues.storedSession({ limits: { replayPerSecond: 50 } });
    one.outgoing.start();
    expect(one.take()).toEqual(['1:1']);
    queues.enqueue('4');
    one.outgoing.wake();
    one.outgoing.pubackReceived(1);
    expect(one.take()).toEqual([]);
    vi.advanceTimersByTime(STEP_MS);
    expect(one.take()).toEqual(['2:2']);
    vi.advanceTimersByTime(STEP_MS);
    expect(one.take()).toEqual(['3:3', '4:4']);
    queues.enqueueAll('5', '6', '7');
    one.outgoing.wake();
    expect(one.take()).toEqual(['5:5', '6:6', '7:7']);
  });

  it('the limit ends with the queue, also when messages left it otherwise', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    queues.putSession();
    queues.enqueue('1', { expiresAt: START + 10_000 });
    queues.enqueue('2', { expiresAt: START + 10_000 });
    queues.enqueue('3', { expiresAt: START + 10_000 });
    const one = queues.storedSession({ limits: { replayPerSecond: 50 } });
    one.outgoing.start();
    expect(one.take()).toEqual(['1:1']);
    queues.now += 10_000;
    queues.store.sweep(queues.now);
    vi.advanceTimersByTime(STEP_MS);
    queues.enqueueAll('4', '5', '6');
    one.outgoing.wake();
    expect(one.take()).toEqual(['2:4', '3:5', '4:6']);
  });

  it('what is in flight is not limited by the rate', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    queues.putSession();
    const first = queues.storedSession();
    queues.enqueueAll('1', '2', '3');
    first.outgoing.wake();
    queues.enqueueAll('4', '5');
    const one = queues.storedSession({ limits: { replayPerSecond: 50 } });
    one.outgoing.start();
    expect(one.take()).toEqual(['1:1 dup', '2:2 dup', '3:3 dup', '4:4']);
  });

  it('a client that reads slowly is sent what waits as it reads, and is not ended', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    queues.putSession();
    queues.enqueueAll('1', '2');
    const one = queues.storedSession({ limits: { outgoing: 100 } });
    one.writableLength = 51;
    one.outgoing.start();
    vi.advanceTimersByTime(STEP_MS);
    expect([one.take(), one.reasons]).toEqual([[], []]);
    one.writableLength = 0;
    vi.advanceTimersByTime(STEP_MS);
    expect(one.take()).toEqual(['1:1', '2:2']);
  });

  it('nothing is sent after stop()', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    queues.putSession();
    queues.enqueueAll('1', '2');
    const one = queues.storedSession({ limits: { replayPerSecond: 50 } });
    one.outgoing.start();
    one.outgoing.stop();
    vi.advanceTimersByTime(1_000);
    expect(one.take()).toEqual(['1:1']);
  });
});

describe('the identifier of a stored message of QoS 2', () => {
  it('is stored before the message is sent, and later messages wait for it [MQTT-4.6.0-6]', async () => {
    queues.putSession();
    await queues.settled();
    const one = queues.storedSession();
    queues.enqueue('a', { qos: 1 });
    queues.enqueue('b', { qos: 2 });
    queues.enqueue('c', { qos: 1 });
    one.outgoing.wake();
    expect(one.take()).toEqual(['1:a']);
    await queues.settled();
    expect(one.take()).toEqual(['2:b', '3:c']);
    queues.enqueue('d', { qos: 1 });
    one.outgoing.wake();
    expect(one.take()).toEqual(['4:d']);
  });

  it('counts against the Receive Maximum meanwhile', async () => {
    queues.putSession();
    const one = queues.storedSession({ client: { receiveMaximum: 1 } });
    queues.enqueue('a', { qos: 2 });
    queues.enqueue('b', { qos: 1 });
    one.outgoing.wake();
    one.outgoing.wake();
    await queues.settled();
    expect(one.take()).toEqual(['1:a']);
  });

  it('that cannot be stored ends the session, and the message is not sent', async () => {
    queues.putSession();
    const one = queues.storedSession();
    const failure = new Problem('unavailable');
    const queue = queues.store.queueOf('c1', { isStored: true });
    const assign = queue.assignPacketId.bind(queue);
    vi.spyOn(queue, 'assignPacketId').mockImplementation((queued, packetId) => {
      assign(queued, packetId);
      return Promise.reject(failure);
    });
    queues.enqueue('a', { qos: 2 });
    one.outgoing.wake();
    await queues.settled();
    expect([one.take(), one.storageFailures]).toEqual([[], [failure]]);
  });

  it('is not used for a session that ended meanwhile', async () => {
    queues.putSession();
    const one = queues.storedSession();
    queues.enqueue('a', { qos: 2 });
    one.outgoing.wake();
    one.isOpen = false;
    await queues.settled();
    expect(one.take()).toEqual([]);
  });
});
