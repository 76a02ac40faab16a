/** Compares a queue with a plain list, for any sequence of calls. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { message } from '../../test/fixtures/broker/stored-messages.ts';
import { MessageQueue } from './message-queue.ts';
import type { QueuedMessage } from './outgoing-queue.ts';
import { QueueEntry } from './queue-entry.ts';

const packetId = fc.integer({ min: 1, max: 3 });
const step = fc.oneof(
  fc.record({
    call: fc.constant('append' as const),
    qos: fc.constantFrom(1 as const, 2 as const),
    expiresAt: fc.constantFrom(undefined, 5, 15),
  }),
  fc.record({ call: fc.constant('assign' as const), packetId }),
  fc.record({ call: fc.constant('release' as const), packetId }),
  fc.record({ call: fc.constant('acknowledge' as const), packetId }),
  fc.record({ call: fc.constant('drop' as const), index: fc.nat({ max: 5 }) }),
  fc.record({ call: fc.constant('expire' as const), now: fc.constantFrom(4, 10) }),
);

function entry(payload: string, qos: 1 | 2 = 1, expiresAt?: number): QueueEntry {
  const delivery = { qos, retain: false, subscriptionIdentifiers: undefined, share: undefined };
  return new QueueEntry(0, message(payload, { expiresAt }), undefined, delivery);
}

describe('a queue in memory', () => {
  it('behaves like a list of unsent and a list of sent messages', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const queue = new MessageQueue('o', undefined);
        let unsent: QueueEntry[] = [];
        let sent: QueueEntry[] = [];
        let appended = 0;
        for (const one of steps) {
          if (one.call === 'append') {
            appended += 1;
            const added = entry('x'.repeat(appended), one.qos, one.expiresAt);
            queue.append(added);
            unsent.push(added);
          } else if (one.call === 'assign') {
            const [next] = unsent;
            if (next === undefined || queue.hasPacketId(one.packetId)) continue;
            expect(queue.assignPacketId(next, one.packetId)).toBeUndefined();
            unsent = unsent.slice(1);
            sent.push(next);
          } else if (one.call === 'release') {
            const found = sent.find((other) => other.packetId === one.packetId && other.qos === 2);
            expect(queue.release(one.packetId) !== undefined).toBe(found !== undefined);
          } else if (one.call === 'acknowledge') {
            const found = sent.find((other) => other.packetId === one.packetId);
            expect(queue.acknowledge(one.packetId)).toBe(found);
            sent = sent.filter((other) => other !== found);
          } else if (one.call === 'drop') {
            const dropped = unsent[one.index] ?? sent[one.index];
            if (dropped !== undefined) queue.drop(dropped);
            unsent = unsent.filter((other) => other !== dropped);
          } else {
            const left = unsent.filter(({ message: { expiresAt } }) => expiresAt === undefined || expiresAt > one.now);
            expect(queue.dropExpired(one.now)).toBe(unsent.length - left.length);
            unsent = left;
          }
          expect(queue.nextUnsent()).toBe(unsent[0]);
          expect([...queue.inFlight()]).toEqual(sent);
          expect([...queue.entries()]).toEqual([...sent, ...unsent]);
          expect(queue.size).toBe(sent.length + unsent.length);
          expect(queue.bytes).toBe(bytesOf([...sent, ...unsent]));
          expect([1, 2, 3].map((id) => queue.hasPacketId(id))).toEqual(
            [1, 2, 3].map((id) => sent.some((other) => other.packetId === id)),
          );
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('replaces a released message by its PUBREL, which is answered like any other', async () => {
    const queue = new MessageQueue('o', undefined);
    const sent = entry('x', 2);
    queue.append(sent);
    queue.assignPacketId(sent, 7);
    await queue.release(7);
    expect(queue.inFlight()).toMatchObject([{ packetId: 7, isReleased: true, message: { topic: '' } }]);
    expect(queue.bytes).toBe(0);
    await queue.release(7);
    expect(queue.acknowledge(7)).toMatchObject({ isReleased: true });
    expect([queue.size, queue.release(7), queue.acknowledge(7)]).toEqual([0, undefined, undefined]);
  });

  it('has no PUBREL for a message of QoS 1', () => {
    const queue = new MessageQueue('o', undefined);
    const sent = entry('x', 1);
    queue.append(sent);
    queue.assignPacketId(sent, 7);
    expect(queue.release(7)).toBeUndefined();
  });

  it('refuses a packet identifier for a message that it does not contain any more', () => {
    const queue = new MessageQueue('o', undefined);
    const [first, second] = [entry('1'), entry('2')];
    queue.append(first);
    queue.append(second);
    queue.drop(first);
    expect(() => queue.assignPacketId(first, 1)).toThrow('expected an unsent message of this queue');
    expect(queue.nextUnsent()).toBe(second);
  });
});

function bytesOf(entries: readonly QueuedMessage[]): number {
  return entries.reduce((sum, one) => sum + one.message.payload.length, 0);
}
