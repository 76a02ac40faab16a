/** What a keeper has of messages that a node has not acknowledged yet. */

import { expect, it } from 'vitest';
import type { Message } from '../mqtt/message.ts';
import { PendingDeliveries } from './pending-deliveries.ts';

const message = (text: string, size = 100): Message => ({
  topic: text,
  payload: Buffer.alloc(size),
  qos: 1,
  retain: false,
  properties: undefined,
  expiresAt: undefined,
  clientId: 'dev-1',
  number: 1,
});

function pendingWith(bytes: number) {
  const delivered: string[] = [];
  const pending = new PendingDeliveries({ bytes, deliver: (early) => delivered.push(early.message.topic) });
  const put = (number: number, size?: number) =>
    pending.put(number, { message: message(`m${number}`, size), shares: undefined });
  return { pending, delivered, put };
}

it('a message waits until its node asks for it, and is gone then', () => {
  const { pending, delivered, put } = pendingWith(10_000);
  put(1);
  expect(pending.bytes).toBeGreaterThan(100);
  expect(pending.take(1)?.message.topic).toBe('m1');
  expect([pending.take(1), pending.bytes, delivered]).toEqual([undefined, 0, []]);
});

it('beyond their bound in bytes the oldest messages are delivered at once, in order, and none is lost', () => {
  const { pending, delivered, put } = pendingWith(10_000);
  for (let number = 1; number <= 100; number += 1) {
    put(number);
    expect(pending.bytes).toBeLessThanOrEqual(10_000);
  }
  const waiting = Array.from({ length: 100 }, (_, index) => pending.take(index + 1)?.message.topic).filter(Boolean);
  expect(delivered.length).toBeGreaterThan(50);
  expect([...delivered, ...waiting]).toEqual(Array.from({ length: 100 }, (_, index) => `m${index + 1}`));
  expect(pending.bytes).toBe(0);
});

it('one message that is larger than the bound waits alone', () => {
  const { pending, delivered, put } = pendingWith(1_000);
  put(1);
  put(2, 5_000);
  expect(delivered).toEqual(['m1']);
  expect(pending.take(2)?.message.topic).toBe('m2');
});
