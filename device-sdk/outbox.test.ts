import { describe, expect, it } from 'vitest';
import { DeviceError } from './device-error.ts';
import { DEFAULT_OUTBOX_LIMITS, MemoryOutbox, type OutboxMessage } from './outbox.ts';

const LIMITS = { messages: 4, bytes: 100, inFlight: 2, sends: 3 };

function message(topic: string, size = 10, qos: 0 | 1 = 1) {
  return { topic, payload: Buffer.alloc(size), qos };
}

function sendable(outbox: MemoryOutbox): OutboxMessage[] {
  const found: OutboxMessage[] = [];
  for (let next = outbox.next(); next !== undefined; next = outbox.next()) found.push(next);
  return found;
}

const topics = (messages: readonly OutboxMessage[]) => messages.map(({ topic }) => topic);
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'kept',
    (error: DeviceError) => error.code,
  );

describe('an outbox in memory', () => {
  it('gives messages out in order, a window at a time', async () => {
    const outbox = new MemoryOutbox(LIMITS);
    const settled = ['a', 'b', 'c'].map((topic) => outbox.add(message(topic)));
    const [a, b] = sendable(outbox) as [OutboxMessage, OutboxMessage];
    expect(topics([a, b])).toEqual(['a', 'b']);
    expect(outbox.settle(a)).toBe(true);
    await settled[0];
    expect(topics(sendable(outbox))).toEqual(['c']);
    expect(outbox.settle(a)).toBe(false);
  });

  it('has room for so many messages', async () => {
    const outbox = new MemoryOutbox(LIMITS);
    for (const topic of ['a', 'b', 'c', 'd']) void outbox.add(message(topic));
    expect(await codeOf(outbox.add(message('e')))).toBe('outbox_full');
    outbox.settle(sendable(outbox)[0] as OutboxMessage);
    void outbox.add(message('e'));
    expect(outbox.status.messages).toBe(4);
  });

  it('has room for so many bytes, and gets it back when a message is settled or fails', async () => {
    const outbox = new MemoryOutbox(LIMITS);
    void outbox.add(message('a', 60));
    const failed = outbox.add(message('b', 40));
    expect(await codeOf(outbox.add(message('c', 1)))).toBe('outbox_full');
    const [a, b] = sendable(outbox) as [OutboxMessage, OutboxMessage];
    outbox.settle(a);
    outbox.refuse(b, new DeviceError('closed'));
    expect(await codeOf(failed)).toBe('closed');
    void outbox.add(message('c', 100));
    expect(await codeOf(outbox.add(message('d', 1)))).toBe('outbox_full');
  });
});

describe('after a lost connection', () => {
  it('what was in flight comes first, in its old order and with its packet identifier', () => {
    const outbox = new MemoryOutbox(LIMITS);
    for (const topic of ['a', 'b', 'c']) void outbox.add(message(topic));
    const first = sendable(outbox);
    first.forEach((sent, index) => {
      sent.packetId = 41 + index;
    });
    outbox.connectionLost();
    expect(outbox.reservedIds()).toEqual([41, 42]);
    const [again] = sendable(outbox) as [OutboxMessage];
    outbox.settle(again);
    expect([again, ...sendable(outbox)].map(({ topic, packetId }) => [topic, packetId])).toEqual([
      ['a', 41],
      ['b', 42],
      ['c', 0],
    ]);
  });

  it('that acknowledged nothing, the oldest goes alone; after one that did, the window is whole', () => {
    const outbox = new MemoryOutbox(LIMITS);
    for (const topic of ['a', 'b', 'c', 'd']) void outbox.add(message(topic));
    sendable(outbox);
    outbox.connectionLost();
    const [alone, ...others] = sendable(outbox);
    expect([alone?.topic, others]).toEqual(['a', []]);
    outbox.settle(alone as OutboxMessage);
    expect(topics(sendable(outbox))).toEqual(['b', 'c']);
    outbox.connectionLost();
    expect(topics(sendable(outbox))).toEqual(['b', 'c']);
  });

  it('a message of QoS 0 that may have been sent is not sent twice', async () => {
    const outbox = new MemoryOutbox(LIMITS);
    const sent = outbox.add(message('a', 10, 0));
    sendable(outbox);
    outbox.connectionLost();
    expect(await codeOf(sent)).toBe('connection_lost');
    expect(outbox.status.messages).toBe(0);
  });

  it('a message that was sent too often is given up', async () => {
    const outbox = new MemoryOutbox(LIMITS);
    const hopeless = outbox.add(message('a'));
    for (let round = 0; round < LIMITS.sends; round += 1) {
      expect(topics(sendable(outbox))).toEqual(['a']);
      outbox.connectionLost();
    }
    expect(await codeOf(hopeless)).toBe('not_acknowledged');
    expect(outbox.status.messages).toBe(0);
  });
});

describe('when the device is closed', () => {
  it('everything fails and nothing is left', async () => {
    const outbox = new MemoryOutbox(LIMITS);
    const all = ['a', 'b', 'c'].map((topic) => codeOf(outbox.add(message(topic))));
    sendable(outbox);
    await outbox.close();
    expect(await Promise.all(all)).toEqual(['closed', 'closed', 'closed']);
    expect(outbox.status.messages).toBe(0);
  });
});

it('keeps within what the broker allows in flight', () => {
  expect(DEFAULT_OUTBOX_LIMITS.inFlight).toBeLessThanOrEqual(100);
});
